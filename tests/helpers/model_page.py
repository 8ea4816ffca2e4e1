"""What a notebook shows of a model, its table opened, as a page; the picture in npmnv3/model is made by

python tests/helpers/model_page.py model.html
bash tests/helpers/screenshot.sh model.html 900,440 npmnv3/model/model.png
"""

import pathlib
import sys

import npmnv3

STYLE = "<style>body {font-family: sans-serif} table {font-size: 13px} td, th {padding: 1px 10px 1px 0}</style>"

if __name__ == "__main__":
    html = npmnv3.load("ppocr/text_direction", engine="numpy")._repr_html_()
    page = f'<meta charset="utf-8">{STYLE}{html.replace("<details>", "<details open>")}'
    pathlib.Path(sys.argv[1]).write_text(page, encoding="utf-8")
