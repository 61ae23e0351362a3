"""HTML pages that need nothing but a browser: what they are made of, the template, and how it is filled in."""

from hal.page.parts import Code, Kind, Number, Page, Picture, Plot, Section, Table
from hal.page.render import rendered

__all__ = ["Code", "Kind", "Number", "Page", "Picture", "Plot", "Section", "Table", "rendered"]
