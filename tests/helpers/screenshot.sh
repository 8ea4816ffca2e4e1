#!/usr/bin/env bash
# A page as a small picture, by Chromium: bash tests/helpers/screenshot.sh PAGE.html WIDTH,HEIGHT OUT.png
# That of npmnv3/verification, of the page that the README's example with --html writes, is 1000,1375 large.
set -euo pipefail
[ $# = 3 ] || { echo "usage: $0 PAGE.html WIDTH,HEIGHT OUT.png" >&2; exit 2; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$folder" \
    --window-size="$2" --screenshot="$folder/page.png" "$1" 2>"$folder/log" || { cat "$folder/log" >&2; exit 1; }
python - "$folder/page.png" "$3" <<'PYTHON'
import sys
from PIL import Image

Image.open(sys.argv[1]).convert("RGB").quantize(48).save(sys.argv[2], optimize=True)
PYTHON
