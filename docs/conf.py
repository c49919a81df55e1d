"""The documentation as a site: ``python -m sphinx -W docs build/site``. It needs the extra ``docs``, and no network."""

import inspect
import re
from pathlib import Path

import ziamath
from docutils import nodes
from latex2mathml.converter import convert

import minidl

project = "minidl"
author = "the minidl authors"
version = release = minidl.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["benchmarks/*"]

html_theme = "furo"
html_title = f"minidl {release}"
html_css_files = ["book.css"]
# The second folder is where a font for formulas comes from: book.css names it.
html_static_path = ["_static", str(Path(ziamath.__file__).parent / "fonts")]
html_show_sphinx = False
html_copy_source = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # so that [text](page.md#a-heading) works, as it does on GitHub
myst_dmath_double_inline = True

autodoc_default_options = {"members": True, "undoc-members": False}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
suppress_warnings = ["autodoc.import_object"]
html_math_renderer = "mathml"


def formula(self, node):
    """A formula as MathML, which every browser of today draws by itself: no script, and a screen reader can read it."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    self.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def as_rst(app, what, name, obj, options, lines):
    """Docstrings here are plain text. Make it reStructuredText: what is indented or aligned stays as it is, in a block."""
    paragraphs = re.split(r"\n[ \t]*\n", "\n".join(lines).strip("\n"))
    lines.clear()
    for paragraph in paragraphs:
        own = paragraph.split("\n")
        if any(line.startswith(" ") for line in own) or re.match(r"(Forward|Backward):", paragraph):
            lines += ["", ".. code-block:: " + ("python" if own[0].startswith("    ") else "text"), ""]
            lines += ["    " + line for line in inspect.cleandoc("\n" + paragraph).split("\n")]
        else:
            parts = re.split(r"(``.+?``)", re.sub("::$", ":", paragraph), flags=re.DOTALL)
            escaped = [part if part.startswith("``") else re.sub(r"([\\*`|_])", r"\\\1", part) for part in parts]
            lines += ["", *"".join(escaped).split("\n")]
    lines.append("")


def outside(app, docname, source):
    """A link to a Markdown file that is no page of the site, such as the one on security, leads to the file itself."""
    here, docs = (Path(app.srcdir) / docname).parent, Path(app.srcdir)

    def link(found):
        inside = (here / found[1]).resolve().is_relative_to(docs)
        return found[0] if inside else f"](path:{found[1]})"

    source[0] = re.sub(r"\]\(([^)#:\s]+\.md)\)", link, source[0])


def setup(app):
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("source-read", outside)
