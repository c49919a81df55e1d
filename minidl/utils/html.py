"""Tables for a notebook, in which whatever comes from the user is escaped."""

from collections.abc import Iterable
from html import escape


def table(title: str, rows: Iterable[Iterable[str]], lines: Iterable[str] = ()) -> str:
    """A title, a table whose first row is its header, and lines of text below it, as HTML."""
    head, *others = rows
    page = [f"<p><b>{escape(title)}</b></p>", "<table><tr>", *(f"<th>{escape(column)}</th>" for column in head)]
    for row in others:
        page += ["</tr><tr>", *(f"<td>{escape(cell)}</td>" for cell in row)]
    return "\n".join([*page, "</tr></table>", *(f"<p>{escape(line)}</p>" for line in lines)])
