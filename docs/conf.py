"""How the site is built: `make site` makes it from the notebooks as they are stored and from the docstrings.

No notebook is executed and no page asks another server for anything: formulas are MathML, which browsers draw
themselves, fonts are the reader's own, and plotly's JavaScript and the explorer's page are files beside the pages.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

HERE = Path(__file__).parent
STATIC = HERE.parent / "build" / "static"  # what is copied and made
sys.path[:0] = [str(HERE.parent), str(HERE)]

import docstrings  # noqa: E402
import stored  # noqa: E402

import ivekit  # noqa: E402

project = "ivekit"
copyright = "the ivekit developers, BSD-3-Clause"
release = ivekit.__version__

templates_path = ["_templates"]
exclude_patterns = ["_templates"]
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "myst_nb"]
default_role = "literal"  # `x` in a docstring is code

nb_execution_mode = "off"  # what is stored is what is shown
nb_ipywidgets_js = {}
nb_render_markdown_format = "myst"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_update_mathjax = False
html_math_renderer = "mathml"

autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = "ivekit"
html_static_path = ["_static", str(STATIC)]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False


STYLED = re.compile(r'<mi mathvariant="(script|double-struck)">([A-Z])</mi>')


def mathml(tex: str, display: str) -> str:
    """A formula as MathML, its script letters as characters: browsers no longer know the attribute."""
    return STYLED.sub(lambda found: f"<mi>{letter(*found.groups())}</mi>", convert(tex, display=display))


def letter(style: str, capital: str) -> str:
    try:
        return unicodedata.lookup(f"mathematical {style} capital {capital}")
    except KeyError:  # some had a name before the others
        return unicodedata.lookup(f"{style} capital {capital}")


def draw_inline(translator, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def draw_block(translator, node: nodes.math_block) -> None:
    translator.body.append(mathml(node.astext(), "block"))
    raise nodes.SkipNode


def reads_as_rst(app, what, name, thing, options, lines: list[str]) -> None:
    lines[:] = docstrings.as_rst(lines)


def keep_together(app) -> None:
    """Pictures from notebooks wait beside the doctrees, not in the folder that the site is in."""
    app.env.mystnb_config = app.env.mystnb_config.copy(output_folder=str(Path(app.doctreedir) / "pictures"))


def setup(app) -> None:
    app.connect("builder-inited", keep_together, priority=900)
    app.connect("autodoc-process-docstring", reads_as_rst)
    app.add_html_math_renderer("mathml", (draw_inline, None), (draw_block, None))
    stored.prepare(HERE.parent / "notebooks", HERE / "notebooks", STATIC)
    stored.latents_beside(STATIC, HERE.parent / "data_samples" / "runs" / "world")
