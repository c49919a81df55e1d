"""All the numbers of a trace: its values and the rules of its layers and its loss, linked from one layer to the next."""

from itertools import pairwise

from ..tracing import Record, Trace
from .layers import LAYERS
from .losses import LOSSES, loss_only
from .rules import Factor, Part, Rule
from .values import Sheet


def sheet_of(trace: Trace) -> Sheet:
    """The sheet of a trace. Of a layer or a loss that is not in the table, a user's or a subclass, only the values.

    Raises ValueError where a layer has the loss's name.
    """
    if any(record.name == "loss" for record in trace.layers):
        raise ValueError("a layer is called 'loss', which is the name of the loss here: give the layer another name.")
    sheet = Sheet()
    for record in trace.layers:
        _put_values(sheet, record)
        if (rules := LAYERS.get(type(record.layer))) is not None:
            rules(sheet, record)
    LOSSES.get(type(trace.run.loss), loss_only)(sheet, trace)
    _connect(sheet, trace)
    _put_gradients(sheet, trace)
    return sheet


def _put_values(sheet: Sheet, record: Record) -> None:
    for name in ("x", "y", "dy", "dx"):
        sheet.put(f"{record.name}:{name}", getattr(record, name))
    for name, value in record.params.items():
        sheet.put(f"{record.name}:{name}", value)
        sheet.put(f"{record.name}:d{name}", record.gradients[name])


def _connect(sheet: Sheet, trace: Trace) -> None:
    """One layer's y is the next one's x, and its dy is the next one's dx."""
    top = [record.name for record in trace.layers if "/" not in record.name]
    for below, above in pairwise(top):
        sheet.link(f"{above}:x", f"{below}:y")
        sheet.link(f"{below}:dy", f"{above}:dx")
    if top:
        sheet.link(f"{top[-1]}:dy", "loss:dy")
        sheet.link("loss:y_pred", f"{top[-1]}:y")


def _put_gradients(sheet: Sheet, trace: Trace) -> None:
    """∂loss/∂parameter by address: the layer's own, or the sum over tied parameters and the penalty."""
    places: dict[str, list[str]] = {}
    for record in trace.layers:
        for name in record.params:
            address = f"{record.name}/{name}"
            places.setdefault(trace.ties.get(address, address), []).append(f"{record.name}:d{name}")
    for address, total in trace.gradients.items():
        parts, penalty = places.get(address, []), trace.penalties.get(address)
        if penalty is not None and penalty.any():
            sheet.put(f"{address}:penalty", penalty)
            parts = [*parts, f"{address}:penalty"]
        if len(parts) == 1:
            sheet.link(address, parts[0])
        else:
            formula = f"∂loss/∂{address} = {' + '.join(parts)}"
            sheet.put(address, total, Rule(formula, parts=tuple(Part((Factor(part),)) for part in parts)))
