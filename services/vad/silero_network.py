"""Silero's network for 16 kHz (version 5 and 6) as a dozen matrix products over all windows of a step at once.

    samples [N, 640]       the 64 before the window, its 512, and 64 of those mirrored at its end
    spectrum [N, 4, 129]   magnitudes of a short-time Fourier transform: 256 samples, every 128, Hann window
    encoder                four convolutions of three taps with ReLU; strides 1, 2, 2, 1; lengths 4, 2, 1, 1
    decoder                an LSTM of 128 cells, ReLU, a weighted sum, a sigmoid

ONNX Runtime runs such convolutions as one small product for each session. Here a convolution's inputs are laid out in
rows, one for each of its outputs, so that it is one product for all sessions. A row ends with a 1, which meets the bias
among the weights. Taps that could only meet padding are left out.

The transform's weights are those of Fourier and Hann, which is checked: a fast transform takes their place.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.vad.engine import Floats
from services.vad.silero import CONTEXT, LSTM, WINDOW

MIRRORED: Final = 64
SAMPLES: Final = CONTEXT + WINDOW + MIRRORED
FRAME: Final = 256
HOP: Final = 128
FRAMES: Final = (SAMPLES - FRAME) // HOP + 1
BINS: Final = FRAME // 2 + 1

# Windows that are worked on at once: more of them would not stay in a processor's second cache.
MOST: Final = 64

SHAPES: Final[dict[str, tuple[int, ...]]] = {
    "stft.forward_basis_buffer": (2 * BINS, 1, FRAME),
    "encoder.0.reparam_conv.weight": (128, BINS, 3),
    "encoder.0.reparam_conv.bias": (128,),
    "encoder.1.reparam_conv.weight": (64, 128, 3),
    "encoder.1.reparam_conv.bias": (64,),
    "encoder.2.reparam_conv.weight": (64, 64, 3),
    "encoder.2.reparam_conv.bias": (64,),
    "encoder.3.reparam_conv.weight": (128, 64, 3),
    "encoder.3.reparam_conv.bias": (128,),
    "decoder.rnn.weight_ih": (4 * LSTM, 128),
    "decoder.rnn.weight_hh": (4 * LSTM, LSTM),
    "decoder.rnn.bias_ih": (4 * LSTM,),
    "decoder.rnn.bias_hh": (4 * LSTM,),
    "decoder.decoder.2.weight": (1, LSTM, 1),
    "decoder.decoder.2.bias": (1,),
}
# A sigmoid costs three times what a hyperbolic tangent does, which it is: sigmoid(x) = tanh(x / 2) / 2 + 1/2.
HALF: Final = np.float32(0.5)
# Weights of the transform differ from the formula by their rounding, 1e-7.
EXACT: Final = 1e-6


class Network:
    """The network with *tensors*, named as in Silero's ONNX files (`SHAPES`).

    Works in memory of its own, 2 MB: one call at a time.

    Raises:
        ValueError: a tensor is missing or has another shape, or the transform is another.
    """

    def __init__(self, tensors: Mapping[str, Floats]) -> None:
        for name, shape in SHAPES.items():
            if name not in tensors:
                raise ValueError(f"it has no tensor {name}")
            if tensors[name].shape != shape:
                raise ValueError(f"its {name} has the shape {tensors[name].shape}, not {shape}")
        # Ready for a transform that is scaled by 1/16; both are powers of two, so nothing is lost.
        self._hann = (_hann() * FRAME**0.5).astype(np.float32)
        if np.abs(tensors["stft.forward_basis_buffer"][:, 0] - _fourier()).max() > EXACT:
            raise ValueError("its stft.forward_basis_buffer is no Fourier transform with a Hann window")
        # The third convolution's first tap and the fourth's outer ones meet only padding.
        taps = (slice(3), slice(3), slice(1, 3), slice(1, 2))
        self._encoder = [_convolution(tensors, place, used) for place, used in enumerate(taps)]
        self._decoder = _lstm(tensors)
        self._sum = np.ascontiguousarray(tensors["decoder.decoder.2.weight"][0, :, 0]) * HALF
        self._sum_bias = tensors["decoder.decoder.2.bias"][0] * HALF
        self._memory = {MOST: _Memory.of(MOST)}  # by the number of windows; all are parts of this one

    def hear(self, windows: Floats, kept: Floats) -> Floats:
        """Return the speech probabilities [N] of *windows* [N, 512], N > 0; bring *kept* [N, 320] up to date.

        Of each session *kept* has the last 64 samples, then the LSTM's output and its cells, 128 each.
        """
        if len(windows) > MOST:
            parts = [slice(at, at + MOST) for at in range(0, len(windows), MOST)]
            return np.concatenate([self.hear(windows[part], kept[part]) for part in parts])
        memory = self._memory.get(len(windows))
        if memory is None:
            memory = self._memory[len(windows)] = self._memory[MOST].start(len(windows))
        self._spectrum(windows, kept[:, :CONTEXT], memory)
        kept[:, :CONTEXT] = windows[:, -CONTEXT:]
        self._encode(memory)
        return self._decode(kept[:, CONTEXT : CONTEXT + LSTM], kept[:, CONTEXT + LSTM :], memory)

    def _spectrum(self, windows: Floats, context: Floats, memory: "_Memory") -> None:
        samples = memory.samples
        samples[:, :CONTEXT] = context
        samples[:, CONTEXT:-MIRRORED] = windows
        samples[:, -MIRRORED:] = windows[:, -2 : -2 - MIRRORED : -1]  # without the last itself
        np.multiply(memory.overlapping, self._hann, out=memory.frames)
        # "ortho" has a factor in single precision. With none, numpy converts to double and back.
        np.fft.rfft(memory.frames, norm="ortho", out=memory.transformed)
        rows = memory.first
        here = rows[:, :, BINS : 2 * BINS]
        np.abs(memory.transformed, out=here)
        # The frames before and after; what lies beyond the first and the last stays zero.
        rows[:, 1:, :BINS] = here[:, :-1]
        rows[:, :-1, 2 * BINS : 3 * BINS] = here[:, 1:]

    def _encode(self, memory: "_Memory") -> None:
        first, second, third, fourth = self._encoder
        heard = np.matmul(memory.first_rows, first, out=memory.first_out).reshape(-1, FRAMES * 128)
        np.maximum(heard[:, : 2 * 128], 0, out=memory.second[:, 0, 128 : 3 * 128])  # the first tap meets padding
        np.maximum(heard[:, 128:], 0, out=memory.second[:, 1, : 3 * 128])
        heard = np.matmul(memory.second_rows, second, out=memory.second_out).reshape(-1, 2 * 64)
        np.maximum(heard, 0, out=memory.third[:, :-1])
        heard = np.matmul(memory.third, third, out=memory.third_out)
        np.maximum(heard, 0, out=memory.fourth[:, :-1])
        heard = np.matmul(memory.fourth, fourth, out=memory.fourth_out)
        np.maximum(heard, 0, out=memory.last[:, :128])

    def _decode(self, hidden: Floats, cells: Floats, memory: "_Memory") -> Floats:
        memory.last[:, 128:-1] = hidden
        gates = np.matmul(memory.last, self._decoder, out=memory.gates)
        np.tanh(gates, out=gates)
        input_gate, forget_gate, candidates, output_gate = (gates[:, at : at + LSTM] for at in range(0, 4 * LSTM, LSTM))
        _sigmoid_of_tanh(gates[:, : 2 * LSTM])
        _sigmoid_of_tanh(output_gate)
        cells *= forget_gate
        input_gate *= candidates
        cells += input_gate
        np.tanh(cells, out=candidates)
        np.multiply(output_gate, candidates, out=hidden)
        np.maximum(hidden, 0, out=memory.heard)
        result: Floats = memory.heard @ self._sum
        result += self._sum_bias
        np.tanh(result, out=result)
        _sigmoid_of_tanh(result)
        return result


class _Memory:
    """What a step works in. Constants in it, the zeros of padding and the 1 of rows, stay."""

    def __init__(self, arrays: Mapping[str, Floats], transformed: npt.NDArray[Any]) -> None:
        count = len(transformed)
        self.transformed = transformed
        self.samples = arrays["samples"]
        self.overlapping = np.lib.stride_tricks.sliding_window_view(self.samples, FRAME, axis=1)[:, ::HOP]
        self.frames = arrays["frames"]
        self.first = arrays["first"]
        self.first_rows = self.first.reshape(count * FRAMES, -1)
        self.first_out = arrays["first_out"].reshape(count * FRAMES, -1)
        self.second = arrays["second"]
        self.second_rows = self.second.reshape(count * 2, -1)
        self.second_out = arrays["second_out"].reshape(count * 2, -1)
        self.third, self.third_out = arrays["third"], arrays["third_out"]
        self.fourth, self.fourth_out = arrays["fourth"], arrays["fourth_out"]
        self.last, self.gates, self.heard = arrays["last"], arrays["gates"], arrays["heard"]
        self._arrays = arrays

    @classmethod
    def of(cls, count: int) -> "_Memory":
        """Return memory for *count* windows."""
        shapes = {
            "samples": (SAMPLES,),
            "frames": (FRAMES, FRAME),
            "first": (FRAMES, 3 * BINS + 1),
            "first_out": (FRAMES, 128),
            "second": (2, 3 * 128 + 1),
            "second_out": (2, 64),
            "third": (2 * 64 + 1,),
            "third_out": (64,),
            "fourth": (64 + 1,),
            "fourth_out": (128,),
            "last": (128 + LSTM + 1,),
            "gates": (4 * LSTM,),
            "heard": (LSTM,),
        }
        arrays = {name: np.zeros((count, *shape), np.float32) for name, shape in shapes.items()}
        for name in ("first", "second", "third", "fourth", "last"):
            arrays[name][..., -1] = 1
        return cls(arrays, np.zeros((count, FRAMES, BINS), np.complex64))

    def start(self, count: int) -> "_Memory":
        """Return the part of this memory that *count* windows need."""
        return _Memory({name: array[:count] for name, array in self._arrays.items()}, self.transformed[:count])


def _sigmoid_of_tanh(values: Floats) -> None:
    values *= HALF
    values += HALF


def _hann() -> npt.NDArray[np.float64]:
    return np.hanning(FRAME + 1)[:-1]


def _fourier() -> npt.NDArray[np.float64]:
    """Return the real parts [129, 256] of the windowed transform, then the imaginary ones."""
    matrix = np.fft.rfft(np.eye(FRAME) * _hann()[:, None]).T
    return np.concatenate([matrix.real, matrix.imag])


def _convolution(tensors: Mapping[str, Floats], place: int, taps: slice) -> Floats:
    """Return the weights [taps * inputs, outputs] with the biases below them."""
    name = f"encoder.{place}.reparam_conv"
    weights = tensors[f"{name}.weight"].transpose(2, 1, 0)[taps]
    rows = weights.reshape(-1, weights.shape[-1])
    return np.concatenate([rows, tensors[f"{name}.bias"][None]])


def _lstm(tensors: Mapping[str, Floats]) -> Floats:
    """Return the weights [input, output before, 1] of the gates, in the order input, forget, cell, output.

    Those of the sigmoids are halved for the tangent that stands for them (exact: a power of two).
    """
    bias = tensors["decoder.rnn.bias_ih"] + tensors["decoder.rnn.bias_hh"]
    weights = [tensors["decoder.rnn.weight_ih"], tensors["decoder.rnn.weight_hh"], bias[:, None]]
    scale = np.repeat(np.array([HALF, HALF, 1, HALF], np.float32), LSTM)
    return np.ascontiguousarray(np.concatenate(weights, axis=1).T * scale)
