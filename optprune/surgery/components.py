"""From labels to groups: connected components of ties, gathered by what they touch.

Labels are the nodes, ties the edges. A connected component is a *unit*: what must go together.
Units that have the same number of indices in the same places form a group.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array

from optprune.surgery.costs import FAMILIES, CostPolynomial, Costs
from optprune.surgery.graph import ChannelGraph
from optprune.surgery.groups import Axis, ChannelGroup, FrozenGroup, Member, Statistics
from optprune.surgery.labels import Reason
from optprune.surgery.operation import LabelledAxis
from optprune.surgery.settling import settle
from optprune.surgery.tracing import Recorder

__all__ = ["build"]

_UNITS = dict.fromkeys(FAMILIES, "MACs") | {"parameters": "parameters", "activation_bytes": "bytes"}


@dataclass
class _Cluster:
    """Units that are alike, before they become a group or a frozen group."""

    components: list[int]
    members: tuple[Member, ...]
    name: str
    order: tuple[int, int]
    channels: int


def build(
    recorder: Recorder,
    shapes: Sequence[tuple[str, tuple[int, ...]]],
    aliases: Sequence[tuple[str, str]],
    caches: Sequence[str],
    also_frozen: Sequence[tuple[npt.NDArray[np.int64], Reason]] = (),
) -> tuple[ChannelGraph, npt.NDArray[np.int32]]:
    """Make the channel graph of a trace.

    Parameters
    ----------
    recorder : Recorder
        What the trace has learned.
    shapes : sequence of (str, tuple of int)
        Names and shapes of the network's state dict.
    aliases : sequence of (str, str)
        Further names of tensors, each with the first.
    caches : sequence of str
        Attributes in which the network keeps tensors from one pass to the next.
    also_frozen : sequence of (ndarray, Reason)
        More labels that must stay, and why.

    Returns
    -------
    graph : ChannelGraph
    units : ndarray of int32, shape (n_labels,)
        The unit of every label; -1 for labels that stay.
    """
    settled = settle(recorder, also_frozen)
    component = settled.component
    n_components = int(component.max(initial=0)) + 1
    reasons = _reasons(component, settled.frozen)
    axes_of_trace = [*recorder.axes, *settled.attributes]
    clusters = _clusters(recorder, axes_of_trace, component, n_components, settled.frozen)
    groups: list[ChannelGroup] = []
    frozen: list[FrozenGroup] = []
    taken: set[str] = set()
    unit_of = np.full(n_components, -1, dtype=np.int32)
    # groups that can be narrowed take their names first
    decided = [(cluster, _reason_of(cluster, reasons)) for cluster in clusters]
    for cluster, reason in sorted(decided, key=lambda pair: pair[1] is not None):
        if reason is not None:
            if not reason.hidden:
                inside = np.isin(component, cluster.components)
                frozen.append(
                    FrozenGroup(
                        _unique(cluster.name, taken),
                        cluster.channels,
                        reason.text,
                        reason.operation,
                        reason.line,
                        cluster.members,
                        _share(recorder, "macs", inside, cluster.channels),
                        _share(recorder, "parameters", inside, cluster.channels),
                    )
                )
            continue
        start = groups[-1].stop if groups else 0
        stop = start + len(cluster.components)
        unit_of[cluster.components] = np.arange(start, stop)
        name = _unique(cluster.name, taken)
        groups.append(ChannelGroup(name, len(groups), start, stop, cluster.members))
    axes, attributes = (
        tuple(
            Axis(axis.tensor, axis.dim, unit_of[component[axis.labels]])
            for axis in axes_of_trace
            if axis.attribute == attribute and (unit_of[component[axis.labels]] >= 0).any()
        )
        for attribute in (False, True)
    )
    widths = np.array([group.width for group in groups], dtype=np.int64)
    offsets = np.concatenate(([0], np.cumsum(widths))).astype(np.int64)
    costs = _costs(recorder, unit_of[component], offsets, widths)
    graph = ChannelGraph(
        tuple(groups),
        tuple(frozen),
        axes,
        costs,
        tuple(shapes),
        attributes,
        tuple(aliases),
        _statistics(recorder, unit_of[component]),
        tuple(caches),
    )
    return graph, unit_of[component]


def _share(recorder: Recorder, kind: str, inside: npt.NDArray[np.bool_], channels: int) -> float:
    """Return the fraction of a cost that would be saved with one of a group's channels left."""
    whole = left = 0.0
    for term in recorder.costs:
        if term.kind == kind:
            lengths = np.array([len(labels) for labels in term.factors], dtype=np.float64)
            own = np.array([(inside[f] & (f > 0)).sum() for f in term.factors], dtype=np.float64)
            whole += term.scale * float(lengths.prod())
            left += term.scale * float((lengths - own * (1 - 1 / channels)).prod())
    return 1 - left / whole if whole else 0.0


def _statistics(recorder: Recorder, unit_of_label: npt.NDArray[np.int32]) -> tuple[Statistics, ...]:
    """Keep the statistics over channels that can be narrowed."""
    found = (
        Statistics(norm.operation, norm.order, unit_of_label[norm.labels])
        for norm in recorder.norms
    )
    return tuple(statistics for statistics in found if (statistics.units >= 0).any())


def _reasons(
    component: npt.NDArray[np.int64], frozen: Sequence[tuple[npt.NDArray[np.int64], Reason]]
) -> dict[int, Reason]:
    """Return the reason of every frozen component; the first that tells something wins."""
    reasons: dict[int, Reason] = {}
    tied_to_nothing = int(component[0])
    for labels, reason in frozen:
        for found in np.unique(component[labels]).tolist():
            if found not in reasons or (reasons[found].hidden and not reason.hidden):
                reasons[found] = reason
    if tied_to_nothing in reasons or (component == tied_to_nothing).sum() > 1:
        reasons.setdefault(
            tied_to_nothing,
            Reason("it is kept rectangular together with a constant", "view", "the network's code"),
        )
    return reasons


def _reason_of(cluster: _Cluster, reasons: dict[int, Reason]) -> Reason | None:
    """Return why a cluster stays, or None."""
    if cluster.components[0] in reasons:
        return reasons[cluster.components[0]]
    if len(cluster.components) == 1:
        text = (
            f"all its {cluster.channels} channels hang together, so that they are a single unit"
            if cluster.channels > 1
            else "it has a single channel"
        )
        return Reason(text, "coupling", cluster.name)
    return None


def _clusters(
    recorder: Recorder,
    axes_of_trace: Sequence[LabelledAxis],
    component: npt.NDArray[np.int64],
    n_components: int,
    frozen_labels: Sequence[tuple[npt.NDArray[np.int64], Reason]],
) -> list[_Cluster]:
    """Gather components that touch the same places with the same numbers of indices."""
    places = [axis.labels for axis in axes_of_trace]
    places += [
        factor for term in recorder.costs if term.kind != "parameters" for factor in term.factors
    ]
    if not places:
        return []
    rows = np.concatenate([component[labels] for labels in places])
    columns = np.repeat(np.arange(len(places)), [len(labels) for labels in places])
    touched = np.concatenate(places) > 0
    counts = coo_array(
        (np.ones(int(touched.sum()), dtype=np.int64), (rows[touched], columns[touched])),
        shape=(n_components, len(places)),
    ).tocsr()
    counts.sum_duplicates()
    counts.sort_indices()
    frozen = np.zeros(n_components, dtype=np.bool_)
    for labels, _ in frozen_labels:
        frozen[component[labels]] = True
    signatures: dict[bytes, list[int]] = defaultdict(list)
    for index in range(n_components):
        span = slice(counts.indptr[index], counts.indptr[index + 1])
        if span.start == span.stop:
            continue
        signature = counts.indices[span].tobytes() + b"|" + counts.data[span].tobytes()
        signatures[signature + (b"!" if frozen[index] else b"")].append(index)
    roles = _Roles(recorder)
    clusters = []
    for components in signatures.values():
        span = slice(counts.indptr[components[0]], counts.indptr[components[0] + 1])
        axes = [
            (axes_of_trace[column], int(count))
            for column, count in zip(counts.indices[span], counts.data[span], strict=True)
            if column < len(axes_of_trace)
        ]
        # an attribute follows the tensors, and neither names a group nor makes one
        axes = [(axis, count) for axis, count in axes if not axis.attribute]
        members = []
        first: tuple[int, int, str, int] | None = None
        for axis, count in axes:
            own = axis.labels[np.isin(component[axis.labels], components)]
            role = roles.of(own)
            members.append(Member(axis.tensor, axis.dim, count, role))
            candidate = (roles.order(own, role), int(own[0]), axis.tensor, len(own))
            first = candidate if first is None else min(first, candidate)
        if first is None:
            continue
        ordered = _in_order(components, component, axes, first[2])
        name = _strip(first[2])
        if all(member.role == "in" for member in members):
            name += " (inputs)"
        clusters.append(_Cluster(ordered, tuple(members), name, (first[0], first[1]), first[3]))
    return sorted(clusters, key=lambda cluster: cluster.order)


def _in_order(
    components: list[int],
    component: npt.NDArray[np.int64],
    axes: Sequence[tuple[LabelledAxis, int]],
    tensor: str,
) -> list[int]:
    """Order components by their first index in the tensor that names the group."""
    for axis, _ in axes:
        if axis.tensor == tensor:
            found = component[axis.labels]
            wanted = found[np.isin(found, components)]
            _, first = np.unique(wanted, return_index=True)
            return [int(value) for value in wanted[np.sort(first)]]
    return components


class _Roles:
    """Which side of a weight a label is on, and when it was produced first."""

    def __init__(self, recorder: Recorder) -> None:
        self._produced = recorder.produced
        self._consumed = recorder.consumed

    def of(self, labels: npt.NDArray[np.int64]) -> str:
        """Return the role of labels of one axis."""
        label = int(labels[0])
        if label in self._produced:
            return "out"
        return "in" if label in self._consumed else "norm"

    def order(self, labels: npt.NDArray[np.int64], role: str) -> int:
        """Return the number of the operation that produced the labels first."""
        if role == "out":
            return min(self._produced.get(int(label), 2**31) for label in labels[:1])
        return 2**31 + (role == "in")


def _strip(tensor: str) -> str:
    """Name a group by its module: without the parameter's usual name."""
    stem = tensor.partition(".parametrizations.")[0]
    for suffix in (".weight", ".bias", ".running_mean", ".running_var"):
        stem = stem.removesuffix(suffix)
    return stem


def _unique(name: str, taken: set[str]) -> str:
    """Number a name that is taken, and take it."""
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}#{number}"
    taken.add(candidate)
    return candidate


def _costs(
    recorder: Recorder,
    unit_of_label: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    widths: npt.NDArray[np.int64],
) -> Costs:
    """Turn the recorded cost terms into polynomials in the widths."""
    terms: dict[str, list[tuple[float, list[tuple[float, npt.NDArray[np.float64]]]]]] = {
        kind: [] for kind in _UNITS
    }
    known: dict[bytes, tuple[float, npt.NDArray[np.float64]]] = {}
    for term in recorder.costs:
        factors = []
        for labels in term.factors:
            key = labels.tobytes()
            if key not in known:
                known[key] = _affine(unit_of_label[labels], offsets, widths)
            factors.append(known[key])
        terms[term.family or term.kind].append((term.scale, factors))
    polynomials = {
        kind: CostPolynomial.from_terms(found, widths, _UNITS[kind])
        for kind, found in terms.items()
    }
    families = {family: polynomials[family] for family in FAMILIES}
    return Costs(families, polynomials["parameters"], polynomials["activation_bytes"])


def _affine(
    units: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64], widths: npt.NDArray[np.int64]
) -> tuple[float, npt.NDArray[np.float64]]:
    """Return how many of these indices stay, as a constant and a slope for each group."""
    narrowed = units[units >= 0]
    group = np.searchsorted(offsets, narrowed, side="right") - 1
    slope = np.bincount(group, minlength=len(widths)).astype(np.float64)
    return float((units < 0).sum()), slope / np.maximum(widths, 1)
