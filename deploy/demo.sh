#!/bin/sh
# Classifies the sample pictures with a list of 30 labels.
#   deploy/demo.sh PROGRAM
set -eu

program=$(realpath "${1:?usage: deploy/demo.sh PROGRAM}")
cd "$(dirname "$0")/.."
model=engine/models/emoji-clip

exec "$program" classify --model $model --labels-file $model/samples/labels-30.txt --top-k 3 \
    $model/samples/*.png $model/samples/*.jpg
