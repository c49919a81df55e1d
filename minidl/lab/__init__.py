"""The microscope: where every number of a forward and a backward pass comes from. ``Trace.explain`` and ``Trace.save`` import it.

rules.py says what a rule is, and evaluates it; values.py holds arrays and their rules by address; layers.py, activations.py and
losses.py are the table of rules; sheet.py puts those of a whole trace together; explain.py answers for one number, slopes.py
measures its slope; page.py writes all of it to one HTML file, with the viewer of web/.
"""

from .page import save

__all__ = ["save"]
