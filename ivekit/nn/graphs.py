"""Numbers at nodes: read along the links of a graph, and told node by node by questions that a context answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..signal.graphs import Edges, adjacency
from .blocks import Tokens, expect, mlp
from .denoisers import WAVES, waves
from .points import Coordinates, FourierFeatures, standard


class GraphBlock(nn.Module):
    """Each node hears its neighbours, then thinks for itself; both are added to what came in.

    What it hears is the mean of its neighbours' features, weighted by the links ``A_ij / sum_j |A_ij|``, beside its own
    (Kipf & Welling, 2017; Hamilton et al., 2017). A negative link is heard with its sign. Links are fixed. The mean is
    over the neighbours that are there: a hole among them does not make the others quieter.

    edges : ``[i, j, weight]``, without direction. mask : nodes that are missing are not heard.

    >>> GraphBlock([[0, 1, 1.0], [1, 2, 0.5]], 3, 16)(torch.zeros(2, 3, 16)).shape
    torch.Size([2, 3, 16])
    """

    links: Tensor

    def __init__(self, edges: Edges, n_nodes: int, dim: int):
        super().__init__()
        links = torch.from_numpy(adjacency(edges, n_nodes)).float()
        self.register_buffer("links", links / links.abs().sum(1, keepdim=True).clamp(min=1e-12))
        self.norm, self.hear = nn.LayerNorm(dim), nn.Linear(2 * dim, dim)
        self.net = nn.Sequential(nn.LayerNorm(dim), *mlp(dim, 2 * dim, dim))

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None) -> Float[Tensor, "b n d"]:
        h = self.norm(x)
        heard = self.links @ h if mask is None else self._heard(h, mask)
        x = x + self.hear(torch.cat([h, heard], -1))
        return x + self.net(x)

    def _heard(self, h: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        there = mask.to(h.dtype) @ self.links.abs().mT.to(h.dtype)  # the part of each node's links that is heard
        there = torch.where((there > 1 - 1e-6) | (there == 0), 1, there)  # all of them, or none: nothing to make up for
        return self.links @ torch.where(mask[..., None], h, 0) / there[..., None]

    def extra_repr(self) -> str:
        return f"n_nodes={len(self.links)}, n_links={int((self.links != 0).sum()) // 2}"


class GraphEncoder(nn.Module):
    """Numbers at the nodes of a graph (a connectome's parcels, say), one token a node that has heard its neighbours.

    Rows are ``(n_nodes, n_values)``. mask : (b, n), or of the rows' shape; a node is used where any of its numbers is
    there, and a missing one has no token. depth : blocks, so how many links away a node hears.

    >>> encode = GraphEncoder([[0, 1, 1.0]], (3, 2), 16)
    >>> encode(torch.zeros(5, 3, 2), torch.ones(5, 3, dtype=torch.bool)).x.shape
    torch.Size([5, 3, 16])
    """

    def __init__(self, edges: Edges, shape: tuple[int, int], dim: int, depth: int = 2):
        super().__init__()
        self.shape, self.axes = tuple(shape), {"node": shape[0]}
        self.embed, self.node = nn.Linear(shape[1], dim), nn.Parameter(torch.randn(shape[0], dim) / 2)
        self.blocks = nn.ModuleList(GraphBlock(edges, shape[0], dim) for _ in range(depth))

    def forward(self, x: Float[Tensor, "b n f"], mask: Bool[Tensor, "b n *f"]) -> Tokens:
        expect(x, self.shape, self)
        here = mask if mask.ndim == 2 else mask.any(-1)
        there = here[..., None] if mask.ndim == 2 else mask
        h = self.embed(torch.where(there, x, 0)) + self.node
        for block in self.blocks:
            h = block(h, here)
        return Tokens(h, here)


class NodeNames(nn.Module):
    """A learned vector for each of n nodes: the question what a node says.

    >>> NodeNames(7, 16)().shape
    torch.Size([7, 16])
    """

    def __init__(self, n: int, dim: int):
        super().__init__()
        self.axes, self.questions = {"node": n}, nn.Parameter(torch.randn(n, dim) / 2)

    def forward(self) -> Float[Tensor, "n d"]:
        return self.questions

    def extra_repr(self) -> str:
        return "n={}, dim={}".format(*self.questions.shape)


class Places(nn.Module):
    """The question what is at each of n places, told by their coordinates: near places are asked alike.

    xyz : (n, 3), in any unit; they are standardised. bandwidth : of their Fourier features, in waves a standard
        deviation.

    >>> Places([[0.0, 0, 0], [10, 0, 0], [0, 10, 0]], 16)().shape
    torch.Size([3, 16])
    """

    xyz: Tensor

    def __init__(self, xyz: Coordinates, dim: int, n_waves: int = 32, bandwidth: float = 0.5):
        super().__init__()
        self.register_buffer("xyz", standard(xyz))
        self.axes, self.waves = {"place": len(self.xyz)}, FourierFeatures(n_waves, bandwidth)
        self.net = mlp(self.waves.size, dim, dim)

    def forward(self) -> Float[Tensor, "n d"]:
        return self.net(self.waves(self.xyz))

    def extra_repr(self) -> str:
        return f"n={len(self.xyz)}"


class NodeDecoder(nn.Module):
    """Numbers at nodes or places: a question each, which the context answers, and a block after each answer.

    latent : size of z, or 0 where all comes from the context. questions : `NodeNames` or `Places`.
    conditioners : how the context acts on the questions, one after another: `CrossAttention(dim)`, `FiLM(dim)` ...
    blocks : after each of them: `GraphBlock`, `GatedBlock`, `TransformerBlock`.

    >>> edges = [[0, 1, 1.0]]
    >>> NodeDecoder(4, NodeNames(3, 16), [], [GraphBlock(edges, 3, 16)], 16, 2)(torch.zeros(5, 4)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(
        self, latent: int, questions: nn.Module, conditioners: Sequence[nn.Module], blocks: Sequence[nn.Module],
        dim: int, n_values: int = 1,
    ):  # fmt: skip
        super().__init__()
        self.questions, self.axes = questions, questions.axes
        self.from_z = nn.Linear(latent, dim) if latent else None
        self.conditioners, self.blocks = nn.ModuleList(conditioners), nn.ModuleList(blocks)
        self.out = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, n_values))

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> Float[Tensor, "b n f"]:
        x = repeat(self.questions(), "n d -> b n d", b=z.shape[0])
        x = x if self.from_z is None else x + self.from_z(z)[:, None]
        return self.out(answered(x, self.conditioners, self.blocks, context))


class NodeDenoiser(nn.Module):
    """A denoiser of numbers at nodes or places, for `Diffusion`; arguments as for `NodeDecoder`.

    >>> net = NodeDenoiser(3, NodeNames(7, 16), [], [GraphBlock([[0, 1, 1.0]], 7, 16)], 16, 2)
    >>> net(torch.zeros(5, 7, 2), torch.zeros(5), torch.zeros(5, 3)).shape
    torch.Size([5, 7, 2])
    """

    def __init__(
        self, latent: int, questions: nn.Module, conditioners: Sequence[nn.Module], blocks: Sequence[nn.Module],
        dim: int, n_values: int = 1,
    ):  # fmt: skip
        super().__init__()
        self.questions, self.axes, self.latent, self.n_values = questions, questions.axes, latent, n_values
        self.conditioners, self.blocks = nn.ModuleList(conditioners), nn.ModuleList(blocks)
        self.embed, self.out = nn.Linear(n_values, dim), nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, n_values))
        self.told, self.skip = mlp(2 * WAVES + latent, dim, dim), nn.Linear(2 * WAVES, n_values)

    def forward(
        self, y: Float[Tensor, "b n f"], t: Float[Tensor, "b"], z: Float[Tensor, "b k"], context: Tokens | None = None
    ) -> Float[Tensor, "b n f"]:
        expect(y, (None, self.n_values), self)
        time = waves(t)
        h = self.embed(y) + self.questions() + self.told(torch.cat([time, z], 1) if self.latent else time)[:, None]
        return self.out(answered(h, self.conditioners, self.blocks, context)) + self.skip(time)[:, None] * y


def answered(
    x: Float[Tensor, "b n d"], conditioners: nn.ModuleList, blocks: nn.ModuleList, context: Tokens | None
) -> Float[Tensor, "b n d"]:
    """Questions after the context has acted on them; without a context, after the blocks alone."""
    for condition, block in zip(conditioners, blocks):
        x = block(x if context is None else condition(x, context))
    return x
