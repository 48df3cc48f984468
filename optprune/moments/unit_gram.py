"""The quadratic form of a layer: what its outputs lose when units of its inputs leave."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.moments.collecting import LayerMoments

__all__ = ["unit_gram"]


def unit_gram(
    known: LayerMoments, owners: npt.ArrayLike, units: range, *, centered: bool = True
) -> npt.NDArray[np.float64]:
    r"""Return the inner products of what the units contribute to a layer's outputs.

    Parameters
    ----------
    known : LayerMoments
        Moments of the layer.
    owners : array_like of int, shape (channels,)
        The unit of each input channel (of a group of the layer), -1 for channels of no unit.
    units : range
        The units in question.
    centered : bool
        Whether the mean of each contribution is taken out, as an intercept does.

    Returns
    -------
    ndarray of float64, shape (len(units), len(units))
        Symmetric, positive semidefinite.

    Raises
    ------
    ArgumentError
        If there is not one owner for each input channel.

    Notes
    -----
    With the contribution :math:`z_u = W_u x_u` of unit u (all kernel positions of its channels),

    .. math:: Q_{uv} = \mathrm{E}\, z_u^T z_v = \langle W_u, C_{uv}^T W_v \rangle_F

    so that leaving out the units r (a vector of zeros and ones) costs a mean squared error of
    :math:`r^T Q r`, summed over the outputs, when no weight is fitted anew. It is not monotone in
    r: contributions may cancel. Cost: :math:`O(d^2)` for d columns, once.

    References
    ----------
    .. [1] Y. Hu, S. Sun, J. Li, X. Wang and Q. Gu, A novel channel pruning method for deep neural
       network compression, 2018, arXiv:1805.11394 (the layer-wise term of its fitness; the form
       is ours).
    """
    layer, moments = known.layer, known.moments
    columns = np.repeat(np.asarray(owners, dtype=np.int64), layer.kernel)
    if len(columns) != moments.mean.shape[1]:
        raise ArgumentError(
            f"owners must name the unit of each of the {moments.mean.shape[1] // layer.kernel} "
            f"input channels of layer {layer.name!r}, got {len(np.asarray(owners))}."
        )
    weight = layer.weight.double()
    second = moments.second / max(moments.count, 1)
    if not centered:
        second = second + moments.mean[:, :, None] * moments.mean[:, None, :]
    products = (second * (weight.mT @ weight)).sum(0).cpu().numpy()
    inside = np.isin(columns, units)
    place = columns[inside] - units.start
    gathered = np.zeros((len(units), int(inside.sum())))
    np.add.at(gathered, place, products[np.ix_(inside, inside)])
    gram = np.zeros((len(units), len(units)))
    np.add.at(gram, place, gathered.T)
    return (gram + gram.T) / 2
