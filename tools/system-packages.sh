#!/bin/sh
# Brings the system packages that pip cannot, where they are missing: system-packages.sh venv|opencv|egl|browser PYTHON
set -eu
what=$1 python=$2

install() {
    echo "installing system packages: $*"
    sudo=""
    if [ "$(id -u)" != 0 ]; then sudo="sudo"; fi
    $sudo apt-get update -qq
    $sudo apt-get install -y -qq --no-install-recommends "$@"
}

case $what in
venv) # Debian splits ensurepip off its Python.
    "$python" -c "import ensurepip, venv" 2>/dev/null || install python3-venv
    ;;
opencv) # Its wheel links against the system's OpenGL and GLib.
    "$python" -c "import cv2" 2>/dev/null || install libgl1 libglib2.0-0
    "$python" -c "import cv2"
    ;;
egl) # What the physical cell is drawn with; with Mesa's drivers it needs no GPU.
    draws='from gigaedge_runtime.physics.engine import drawn_by; print("pictures of the physical cell:", drawn_by())'
    "$python" -c "$draws" 2>/dev/null || install libegl1 libegl-mesa0 libgl1-mesa-dri
    "$python" -c "$draws"
    ;;
browser) # For the tests alone: they look at a report as a reader does. Ubuntu's package is a snap, which may not start.
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then exit 0; fi
    done
    install chromium || echo "no Chromium: the test that opens a report in a browser is skipped"
    ;;
esac
