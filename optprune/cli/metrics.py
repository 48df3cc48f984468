"""Metrics by the names that they have on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from optprune.cli.plugins import Plugin, installed, note_hidden, plugin_named
from optprune.formulation import Metric, metrics

__all__ = ["load_metric", "metrics_by_name", "shipped_metrics"]


def metrics_by_name(own: Iterable[Metric] = ()) -> Mapping[str, Metric]:
    """Return a problem's own metrics, optprune's and their absolute forms, and plug-ins', by name.

    Where several have one name, the first named here is meant.
    """
    return _Known({metric.name: metric for metric in own})


def shipped_metrics() -> dict[str, Metric]:
    """Return optprune's metrics, and their absolute forms, by name."""
    shipped = {}
    for name in metrics.__all__:
        metric = getattr(metrics, name)
        if isinstance(metric, Metric):
            shipped[metric.name] = metric
            if metric.fraction:
                shipped[metric.absolute.name] = metric.absolute
    return shipped


def load_metric(plugin: Plugin) -> Metric:
    """Return the metric of a plug-in.

    Raises
    ------
    PluginError
        If it cannot be imported, or is no metric of that name.
    """
    found = plugin.load()
    if not isinstance(found, Metric):
        raise plugin.wrong(
            f"it must be a Metric, such as @optprune.metric makes; got {type(found).__name__}."
        )
    if found.name != plugin.name:
        raise plugin.wrong(
            f"the metric is called {found.name!r}; tables and bounds name metrics, so give both "
            "one name."
        )
    return found


class _Known(Mapping[str, Metric]):
    """Metrics by name; a plug-in is imported when its name is looked up."""

    def __init__(self, own: Mapping[str, Metric]) -> None:
        self._shipped = shipped_metrics()
        self._own = own
        self._plugins = installed("metrics")
        self._noted: set[str] = set()

    def __getitem__(self, name: str) -> Metric:
        if name in self._own:
            return self._own[name]
        if name in self._shipped:
            if name in self._plugins and name not in self._noted:
                self._noted.add(name)
                note_hidden("metrics", name)
            return self._shipped[name]
        plugin = plugin_named("metrics", name, "metric") if name in self._plugins else None
        if plugin is None:
            raise KeyError(name)
        return load_metric(plugin)

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._shipped or name in self._plugins

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*self._shipped, *self._own, *self._plugins])

    def __len__(self) -> int:
        return len(list(iter(self)))
