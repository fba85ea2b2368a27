#!/bin/sh
# Serves the shipped model in the foreground, and shows one classification once it is ready.
#   deploy/run.sh PROGRAM        PORT=9090 chooses another port
set -eu

program=$(realpath "${1:?usage: deploy/run.sh PROGRAM}")
cd "$(dirname "$0")/.."
port=${PORT:-8080}
model=engine/models/emoji-clip

# Repeats what the server prints until it ends. Ctrl-C is the server's to handle.
follow() {
    trap '' INT TERM
    address=
    while IFS= read -r line; do
        printf '%s\n' "$line"
        case $line in
        "listening on "*)
            address=${line#listening on }
            show
            ;;
        esac
    done
    if [ -z "$address" ]; then
        echo "The server did not start; see above. Another port: make run PORT=9090" >&2
    fi
}

show() {
    url=$address/v1/classify
    cat <<END

Classify a picture (paste this from the root of the repository):

  curl -s -F image=@$model/samples/dog.png -F labels=dog,cat,pizza $url

END
    if command -v curl >/dev/null; then
        echo "It answers:"
        echo
        curl -sS -F image=@$model/samples/dog.png -F labels=dog,cat,pizza "$url" || true
        echo
    fi
    echo "Stop with Ctrl-C."
}

# A named pipe, so that this process becomes the server: signals and the exit status are its own.
folder=$(mktemp -d)
mkfifo "$folder/pipe"
follow <"$folder/pipe" &
exec 3>"$folder/pipe"
rm -r "$folder"
exec "$program" serve --model $model --host 127.0.0.1 --port "$port" >&3 3>&-
