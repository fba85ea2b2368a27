#!/bin/sh
# Installs what the benchmarks need beyond the build: PyTorch makes the model, ONNX Runtime is the
# peer, wrk the HTTP client. What is there already is left alone, so it may be run again.
set -eu
cd "$(dirname "$0")/../.."

folder=build/bench
onnxruntime='onnxruntime-node@1.30.0'

missing=
/usr/bin/python3 -c 'import torch' 2>/dev/null || missing="$missing python3-torch"
command -v npm >/dev/null || missing="$missing npm"
command -v wrk >/dev/null || missing="$missing wrk"
if [ -n "$missing" ]; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update
    # shellcheck disable=SC2086 # one word a package
    $sudo apt-get install -y --no-install-recommends $missing
fi

mkdir -p "$folder"
if [ ! -d "$folder/node_modules/onnxruntime-node" ]; then
    # The CPU library is inside the package; its install script would only fetch CUDA's.
    npm install --prefix "$folder" --no-save --ignore-scripts "$onnxruntime"
fi

[ -f "$folder/vit_b16/words.txt" ] || tests/bench/make_vit.py "$folder/vit_b16"
