"""Muon (Keller Jordan): momentum made orthogonal, for the matrices of the vision tower's blocks.

Learns from far fewer pictures than AdamW does; everything else stays with AdamW.
"""
import torch


def orthogonal(batch):
    """Newton-Schulz iteration on [n, rows, columns] with rows <= columns, in bfloat16."""
    x = batch.bfloat16()
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        gram = torch.bmm(x, x.transpose(1, 2))
        both = -4.7750 * gram + 2.0315 * torch.bmm(gram, gram)
        x = 3.4445 * x + torch.bmm(both, x)
    return x.float()


class Muon(torch.optim.Optimizer):
    """Update = rate * sqrt(max(1, rows / columns)) * orthogonal(Nesterov momentum)."""

    def __init__(self, matrices, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        """One update; matrices of one shape (or its transpose) go through together."""
        for group in self.param_groups:
            shapes = {}
            for value in group["params"]:
                memory = self.state[value].setdefault("momentum", torch.zeros_like(value))
                memory.mul_(group["momentum"]).add_(value.grad)
                move = value.grad + group["momentum"] * memory
                flip = move.shape[0] > move.shape[1]
                move = move.t() if flip else move
                shapes.setdefault(move.shape, []).append((value, move, flip))
            for entries in shapes.values():
                moves = orthogonal(torch.stack([move for _, move, _ in entries]))
                for (value, _, flip), move in zip(entries, moves):
                    scale = max(1.0, value.shape[0] / value.shape[1]) ** 0.5
                    value.mul_(1 - group["lr"] * group["weight_decay"])
                    value.add_(move.t() if flip else move, alpha=-group["lr"] * scale)
