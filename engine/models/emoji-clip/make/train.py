#!/usr/bin/python3
"""Train the emoji CLIP for a budget of minutes; checkpoints, resumes, survives being paused.

Two processes of one thread each share the work (each its half of a batch; gradients are averaged
over gloo): that wastes less than one process of two threads when other programs use the cores.
Every step draws distinct emojis, each in two drawings from different families.  The test style
is dropped on loading; the validation style is only looked at to report and to keep the best.
"""
import argparse
import copy
import datetime
import math
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from augment import augment, clean
from bpe import Tokenizer
from build_data import TEST, VALIDATION
from captions import Captions
from clip import Clip, JOINT
from muon import Muon

# Drawings that only differ in rendering count as one family.
FAMILY = {"noto-svg": "noto", "fluent-modern": "fluent", "fluent-flat": "fluent",
          "fluent-3d": "fluent"}
NO_FLIP = re.compile(r"left|right|arrow|clock|thirty|button|keycap|sign|mark")


class Pictures:
    """The training pictures, by class and family, and the validation pictures."""

    def __init__(self, folder, classes):
        data = np.load(os.path.join(folder, "pictures.npz"))
        names = [str(s) for s in data["names"]]
        style = data["styles"]
        self.raw, self.classes = torch.from_numpy(data["pictures"]), data["classes"]
        self.held = np.nonzero(style == names.index(VALIDATION))[0]
        family = [FAMILY.get(s, s) for s in names]
        self.of = [{} for _ in classes]
        for i in np.nonzero(data["train"])[0]:
            assert names[style[i]] not in (VALIDATION, TEST)
            self.of[self.classes[i]].setdefault(family[style[i]], []).append(i)
        self.flip = torch.tensor([c["category"] != "Symbols" and not NO_FLIP.search(c["name"])
                                  for c in classes])
        self.count = int(data["train"].sum())

    def draw(self, numbers, views, rng):
        """Indices [views * n] of pictures, the views of a class from different families."""
        rows = []
        for number in numbers:
            families = list(self.of[number])
            order = rng.permutation(len(families))
            for view in range(views):
                options = self.of[number][families[order[view % len(order)]]]
                rows.append(options[rng.integers(len(options))])
        return np.array(rows).reshape(len(numbers), views).T.reshape(-1)


class Trainer:
    """Model, optimiser, averaged weights and clock; everything a checkpoint holds."""

    def __init__(self, args):
        self.args = args
        tokenizer = Tokenizer(args.data)
        self.captions = Captions(args.data, tokenizer)
        self.pictures = Pictures(args.data, self.captions.classes)
        torch.manual_seed(args.seed)
        self.rng = np.random.default_rng(args.seed + 1000 * args.rank)
        self.model = Clip(len(tokenizer.vocab), args.drop)
        self.anchors = torch.nn.Parameter(torch.randn(len(self.captions.classes), JOINT) * 0.05)
        self.average = copy.deepcopy(self.model).eval()
        self.optimiser, self.muon = self.optimisers()
        self.names = self.captions.names()
        self.bank, self.queue = None, []
        self.step, self.spent, self.best = 0, 0.0, 0.0
        self.parts = [0.0, 0.0, 0.0]
        self.stop, self.asked, self.took = False, False, 0.0
        torch.manual_seed(args.seed + 1000 * args.rank)

    def optimisers(self):
        """Muon for the matrices of the vision blocks, AdamW for the rest (decay for matrices)."""
        blocks, decay, rest = [], [], [self.anchors]
        for name, value in self.model.named_parameters():
            plain = value.ndim < 2 or "embedding" in name
            inner = "vision_model.encoder" in name and not plain
            (blocks if inner else rest if plain else decay).append(value)
        args = self.args
        groups = [{"params": decay, "weight_decay": args.decay},
                  {"params": rest, "weight_decay": 0.0}]
        return (torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98), eps=1e-6),
                Muon(blocks, lr=args.muon, weight_decay=args.decay))

    def progress(self):
        """Share of the budget that is spent."""
        return min(1.0, self.spent / (self.args.minutes * 60))

    def rate(self):
        """Share of the learning rates: warm-up over 100 steps, cosine to 1 % over the budget."""
        cosine = 0.5 + 0.5 * math.cos(math.pi * self.progress())
        return min(1.0, (self.step + 1) / 100) * (0.01 + 0.99 * cosine)

    def batch_classes(self):
        """The next distinct classes of a shuffled pass."""
        size = self.args.classes // self.args.processes
        if len(self.queue) < size:
            fresh = self.rng.permutation(len(self.captions.classes))
            known = set(self.queue)
            self.queue = self.queue + [int(c) for c in fresh if c not in known]
        taken, self.queue = self.queue[:size], self.queue[size:]
        return [c for c in taken if self.pictures.of[c]]

    def kept(self, pixels):
        """Which patches each picture keeps, rather not blank ones; all late in the run."""
        if self.progress() > self.args.whole_from:
            return None
        patches = pixels[:, 1].reshape(-1, 8, 8, 8, 8).transpose(2, 3).reshape(-1, 64, 64)
        blank = (patches.amax(2) - patches.amin(2)) < 0.15
        return (torch.rand(len(pixels), 64) + 0.7 * blank).argsort(1)[:, :self.args.keep]

    def refresh_bank(self):
        """Text features of every emoji's name with the present weights."""
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            self.model.eval()
            self.bank = self.model.text(self.names)
            self.model.train()

    def loss(self):
        """One batch: image to all names (whose features are kept from a recent step, without
        gradient), image to anchors, image to image of the same emoji; and every few steps the
        captions.  Anchors are one learned vector an emoji, not shipped, that pull the towers
        apart early on."""
        numbers = self.batch_classes()
        index = self.pictures.draw(numbers, 2, self.rng)
        owner = torch.from_numpy(self.pictures.classes[index])
        pixels = augment(self.pictures.raw[torch.from_numpy(index)], self.pictures.flip[owner])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            image = self.model.image(pixels, self.kept(pixels))
        scale = self.model.logit_scale.clamp(max=math.log(100)).exp()
        to_name = F.cross_entropy(scale * image @ self.bank.t(), owner)
        anchors = scale * F.normalize(self.anchors, dim=1).t()
        anchored = F.cross_entropy(image @ anchors, owner)
        near = image @ image.t() / 0.1 - 1e4 * torch.eye(len(image))
        same = (owner[:, None] == owner[None]) & ~torch.eye(len(image), dtype=torch.bool)
        alike = -(near.log_softmax(1) * same).sum(1).mean()
        total = to_name + anchored + self.args.alike * alike
        if self.step % self.args.text_every == 0:
            total = total + self.caption_loss(numbers, owner, image, scale, anchors)
        self.parts[:2] = float(to_name), float(anchored)
        return total

    def caption_loss(self, numbers, owner, image, scale, anchors):
        """Contrastive on the captions of the batch, both ways, and captions to anchors.  A caption
        that also holds for another emoji of the batch is neither right nor wrong for it."""
        tokens, words = self.captions.draw(numbers, self.rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            text = self.model.text(tokens)
        mine = torch.tensor(numbers)[:, None] == owner[None]
        also = self.captions.true_for[words][:, owner] & ~mine
        here = (scale * text @ image.t()).masked_fill(also, -1e4)
        to_text = F.cross_entropy(here.t(), mine.float().argmax(0))
        to_image = -(here.log_softmax(1) * mine).sum(1).mean() / 2
        self.parts[2] = float(to_text)
        return 0.5 * (to_text + to_image + F.cross_entropy(text @ anchors, torch.tensor(numbers)))

    def share(self):
        """Average the gradients over the processes; the first one's clock and stop go to all."""
        if self.args.processes == 1:
            self.spent, self.stop = self.spent + self.took, self.asked
            return
        grads = [p.grad for p in [*self.model.parameters(), self.anchors] if p.grad is not None]
        clock = self.spent + self.took if self.args.rank == 0 else 0.0
        flat = torch.cat([g.reshape(-1) for g in grads]
                         + [torch.tensor([clock, float(self.asked)])])
        dist.all_reduce(flat)
        self.spent, self.stop = float(flat[-2]), bool(flat[-1] > 0)
        flat, place = flat / self.args.processes, 0
        for grad in grads:
            grad.copy_(flat[place:place + grad.numel()].view_as(grad))
            place += grad.numel()

    def train_step(self):
        """One step of the optimiser and of the average."""
        if self.bank is None or self.step % 50 == 0:
            self.refresh_bank()
        for optimiser, rate in ((self.optimiser, self.args.lr), (self.muon, self.args.muon)):
            for group in optimiser.param_groups:
                group["lr"] = self.rate() * rate
        loss = self.loss()
        self.model.zero_grad(set_to_none=True)
        self.anchors.grad = None
        loss.backward()
        self.share()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.muon.step()
        self.step += 1
        if self.args.rank:
            return
        decay = min(self.args.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.model.parameters()):
                slow.lerp_(fast, 1 - decay)

    def validate(self):
        """Top-1 and top-5 of the averaged weights on the validation style, all names."""
        index = torch.from_numpy(self.pictures.held)
        target = torch.from_numpy(self.pictures.classes[self.pictures.held])
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            image = torch.cat([self.average.image(clean(self.pictures.raw[part]))
                               for part in index.split(256)])
            rank = (image @ self.average.text(self.names).t()).float().topk(5, 1).indices
        hit = rank == target[:, None]
        return float(hit[:, 0].float().mean()), float(hit.any(1).float().mean())

    def save(self, path, brief=False):
        """Checkpoint by rename; brief holds only the averaged weights."""
        state = {"average": self.average.state_dict(), "step": self.step, "spent": self.spent,
                 "best": self.best, "args": vars(self.args)}
        if not brief:
            state.update(model=self.model.state_dict(), anchors=self.anchors.data,
                         optimiser=self.optimiser.state_dict(), muon=self.muon.state_dict(),
                         random=torch.get_rng_state(), numpy=self.rng.bit_generator.state,
                         queue=self.queue)
        torch.save(state, path + ".new")
        os.replace(path + ".new", path)

    def restore(self, path):
        """Continue from a checkpoint."""
        state = torch.load(path)
        self.model.load_state_dict(state["model"])
        self.anchors.data.copy_(state["anchors"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.muon.load_state_dict(state["muon"])
        self.step, self.spent, self.best = state["step"], state["spent"], state["best"]
        torch.manual_seed(self.args.seed + 1000 * self.args.rank + self.step)
        if self.args.rank == 0:
            self.rng.bit_generator.state, self.queue = state["numpy"], state["queue"]
            torch.set_rng_state(state["random"])


def report(trainer, out):
    """Validate, print, keep the best averaged weights."""
    first, five = trainer.validate()
    note = ""
    if first >= trainer.best:
        trainer.best, note = first, " (kept)"
        trainer.save(os.path.join(out, "best.pt"), brief=True)
    print("validation style: top-1 %.1f %%, top-5 %.1f %%%s" % (100 * first, 100 * five, note),
          flush=True)


def show(trainer, usual):
    """One line of progress."""
    print("step %d, %.1f min, lr %.2e, names %.3f, anchors %.3f, captions %.3f, scale %.1f, %.0f "
          "pictures/s" % (trainer.step, trainer.spent / 60, trainer.rate() * trainer.args.lr,
                          *trainer.parts, float(trainer.model.logit_scale.exp()),
                          2 * trainer.args.classes / usual), flush=True)


def run(trainer, out):
    """Train until the budget is spent or a SIGTERM asks to stop."""
    signal.signal(signal.SIGTERM, lambda *_: setattr(trainer, "asked", True))
    usual, saved, checked = 1.0, trainer.spent, trainer.spent
    while trainer.progress() < 1 and not trainer.stop:
        start = time.monotonic()
        trainer.train_step()
        trainer.took = min(time.monotonic() - start, max(4 * usual, 5))
        usual = 0.95 * usual + 0.05 * trainer.took
        if trainer.args.rank:
            continue
        if trainer.step % 50 == 0 or trainer.step == 5:
            show(trainer, usual)
        if trainer.spent - saved > 180:
            saved = trainer.spent
            trainer.save(os.path.join(out, "ckpt.pt"))
        if trainer.spent - checked > trainer.args.check * 60:
            checked = trainer.spent
            report(trainer, out)
    if trainer.args.rank == 0:
        trainer.save(os.path.join(out, "ckpt.pt"))
        report(trainer, out)


def start_processes(args):
    """Start the other processes (rank 0) and join the group."""
    if args.processes == 1:
        return
    meeting = os.path.abspath(os.path.join(args.out, "meeting"))
    if args.rank == 0:
        if os.path.exists(meeting):
            os.remove(meeting)
        for rank in range(1, args.processes):
            subprocess.Popen([sys.executable, *sys.argv, "--rank", str(rank)])
    dist.init_process_group("gloo", init_method="file://" + meeting, rank=args.rank,
                            world_size=args.processes, timeout=datetime.timedelta(hours=6))


def arguments():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder with pictures, classes, vocabulary")
    parser.add_argument("--out", required=True, help="folder for ckpt.pt and best.pt")
    parser.add_argument("--minutes", type=float, default=46.5, help="computing time, no pauses")
    parser.add_argument("--classes", type=int, default=96, help="emojis a batch, 2 pictures each")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--muon", type=float, default=0.01, help="learning rate of Muon")
    parser.add_argument("--text-every", type=int, default=2, help="steps between text batches")
    parser.add_argument("--decay", type=float, default=0.1, help="weight decay")
    parser.add_argument("--drop", type=float, default=0.05, help="stochastic depth")
    parser.add_argument("--keep", type=int, default=20, help="patches kept of 64")
    parser.add_argument("--whole-from", type=float, default=0.85, help="all patches from here")
    parser.add_argument("--alike", type=float, default=0.3, help="weight of image-image loss")
    parser.add_argument("--average", type=float, default=0.998, help="decay of averaged weights")
    parser.add_argument("--check", type=float, default=5, help="minutes between validations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="threads of a process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help="continue from OUT/ckpt.pt")
    return parser.parse_args()


def main():
    """Train, or continue."""
    args = arguments()
    torch.set_num_threads(args.threads)
    os.makedirs(args.out, exist_ok=True)
    start_processes(args)
    trainer = Trainer(args)
    if args.resume:
        trainer.restore(os.path.join(args.out, "ckpt.pt"))
    if args.rank == 0:
        print("%d training pictures, %d emojis, %.2f M parameters" % (
            trainer.pictures.count, len(trainer.captions.classes),
            sum(p.numel() for p in trainer.model.parameters()) / 1e6), flush=True)
    run(trainer, args.out)


if __name__ == "__main__":
    main()
