"""The real Fourier transform as short matrix products, which run in every export format.

An FFT operator exists in few mobile runtimes. One product with the whole cosine and sine matrix
runs everywhere, but at 1024 samples that matrix is 4 MB, larger than the network, and needs a
million multiplications per frame. Splitting the transform once (Cooley & Tukey, "An algorithm for
the machine calculation of complex Fourier series", Math. Comp. 19, 1965) leaves two products with
matrices of 32 and 64 rows and a rotation between them: a hundredth of the size and a seventh of the
work.
"""

import math

import torch
from torch import Tensor, nn


class RealFourier(nn.Module):
    """Real Fourier transform of frames of one length, not normalised, and its inverse.

    With ``length = rows * columns``, sample ``columns * i + j`` and bin ``k + rows * m``, the phase
    splits into ``i k / rows + j k / length + j m / columns``: a short transform over ``i``, a
    rotation, a short transform over ``j``. The inverse takes the same steps back.

    Args:
        length: samples per frame, even.
    """

    def __init__(self, length: int):
        super().__init__()
        self.length, self.bins = length, length // 2 + 1
        self.rows = max(n for n in range(1, math.isqrt(length) + 1) if length % n == 0)
        self.columns = length // self.rows
        self.blocks = length // 2 // self.rows + 1  # of `rows` bins each; they cover all bins
        i, j, m = (torch.arange(n).double() for n in (self.rows, self.columns, self.blocks))
        rows, rotation, columns = (
            2 * math.pi * torch.outer(a, b) / n
            for a, b, n in ((i, i, self.rows), (j, i, length), (j, m, self.columns))
        )
        self._keep("rows_forward", torch.cat([rows.cos(), -rows.sin()], dim=1))
        self._keep("columns_forward", _rotations(-columns))
        # Bins between DC and Nyquist stand for their mirror image too.
        k = torch.arange(self.blocks * self.rows).reshape(self.blocks, self.rows)
        weight = torch.where((k == 0) | (k == length // 2), 1.0, 2.0).double() / length
        weight[k > length // 2] = 0
        self._keep("weight", weight)
        self._keep("columns_inverse", _rotations(columns.T))
        self._keep("rows_inverse", torch.cat([rows.cos(), -rows.sin()], dim=0))
        self._keep("cosine", rotation.cos())
        self._keep("sine", rotation.sin())

    def _keep(self, name: str, table: Tensor) -> None:
        self.register_buffer(name, table.float(), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, frames, length) → (batch, frames, 2, bins), real and imaginary parts."""
        batch, count = frames.shape[:2]
        x = frames.reshape(batch, count, self.rows, self.columns).transpose(2, 3)
        x = x @ self.rows_forward
        real, imaginary = x[..., : self.rows], x[..., self.rows :]
        x = torch.cat(
            [
                real * self.cosine + imaginary * self.sine,
                imaginary * self.cosine - real * self.sine,
            ],
            dim=2,
        )
        x = x.transpose(2, 3) @ self.columns_forward
        x = x.reshape(batch, count, self.rows, 2, self.blocks).permute(0, 1, 3, 4, 2)
        return x.reshape(batch, count, 2, self.blocks * self.rows)[..., : self.bins]

    def inverse(self, spectrum: Tensor) -> Tensor:
        """(batch, frames, 2, bins) → (batch, frames, length)."""
        batch, count = spectrum.shape[:2]
        x = nn.functional.pad(spectrum, (0, self.blocks * self.rows - self.bins))
        x = x.reshape(batch, count, 2, self.blocks, self.rows) * self.weight
        x = x.permute(0, 1, 4, 2, 3).reshape(batch, count, self.rows, 2 * self.blocks)
        x = (x @ self.columns_inverse).transpose(2, 3)
        real, imaginary = x[:, :, : self.columns], x[:, :, self.columns :]
        x = torch.cat(
            [
                real * self.cosine - imaginary * self.sine,
                imaginary * self.cosine + real * self.sine,
            ],
            dim=3,
        )
        x = (x @ self.rows_inverse).transpose(2, 3)
        return x.reshape(batch, count, self.length)


def _rotations(angle: Tensor) -> Tensor:
    """Matrix that multiplies [real, imaginary] rows by ``exp(1j * angle)``."""
    cosine, sine = angle.cos(), angle.sin()
    return torch.cat([torch.cat([cosine, sine], 1), torch.cat([-sine, cosine], 1)], 0)
