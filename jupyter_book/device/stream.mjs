// Frames through the model, as frames.py and backends.py in enhancelib/enhance do it: windowed, transformed,
// enhanced, added up. The network's memory goes in and comes out as tensors.

export class Fourier {
  // Complex transform of a power of two (Cooley & Tukey, Math. Comp. 19, 1965), in place, not
  // normalised. Two real channels travel as one complex signal.
  constructor(length) {
    if (length & (length - 1)) throw new Error(`a frame of ${length} samples is no power of two`);
    this.length = length;
    const angles = Array.from({ length: length / 2 }, (_, k) => (-2 * Math.PI * k) / length);
    this.cosine = Float64Array.from(angles, Math.cos);
    this.sine = Float64Array.from(angles, Math.sin);
    this.mirror = new Uint32Array(length); // bits of the index in reverse order
    for (let i = 1; i < length; i++) this.mirror[i] = (this.mirror[i >> 1] >> 1) | (i & 1 && length >> 1);
  }

  run(real, imaginary) {
    const { length, cosine, sine, mirror } = this;
    for (let i = 0; i < length; i++) {
      const j = mirror[i];
      if (j <= i) continue;
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
    for (let half = 1; half < length; half *= 2) {
      const stride = length / (2 * half);
      for (let start = 0; start < length; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const low = start + k;
          const high = low + half;
          const [c, s] = [cosine[k * stride], sine[k * stride]];
          const re = real[high] * c - imaginary[high] * s;
          const im = real[high] * s + imaginary[high] * c;
          real[high] = real[low] - re;
          imaginary[high] = imaginary[low] - im;
          real[low] += re;
          imaginary[low] += im;
        }
      }
    }
  }
}

export class Model {
  // A .stream.onnx file in ONNX Runtime Web, on one thread.
  static async open(ort, bytes) {
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    return Object.assign(new Model(), { ort, session });
  }

  reset(channels) {
    this.feeds = {};
    for (const { name, shape } of this.session.inputMetadata) {
      const known = shape.slice(1).map((size) => (typeof size === "number" ? size : 1)); // frames: any
      const dims = [channels, ...known];
      const size = dims.reduce((product, size) => product * size, 1);
      this.feeds[name] = new this.ort.Tensor("float32", new Float32Array(size), dims);
    }
  }

  // Takes and returns Float32Array (channels, frames, bins, 2), any number of frames.
  async step(spectrum) {
    const [channels, , bins, parts] = this.feeds.spectrum.dims;
    const dims = [channels, spectrum.length / (channels * bins * parts), bins, parts];
    this.feeds.spectrum = new this.ort.Tensor("float32", spectrum, dims);
    const outputs = await this.session.run(this.feeds);
    for (const [name, tensor] of Object.entries(outputs)) {
      if (name.startsWith("state_out_")) this.feeds[name.replace("_out", "")] = tensor;
    }
    return outputs.spectrum_out.data;
  }
}

export class FrameEngine {
  // Enhances one or two channels. Frame k covers the samples from (k - 1) * hop to (k + 1) * hop;
  // after it the hop before k * hop is final.
  constructor(model, frameLength, channels) {
    this.model = model;
    this.channels = channels;
    this.hop = frameLength / 2;
    this.fourier = new Fourier(frameLength);
    this.window = Float32Array.from({ length: frameLength }, (_, i) => // square root of Hann
      Math.sqrt(0.5 - 0.5 * Math.cos((2 * Math.PI * i) / frameLength)));
    this.real = new Float64Array(frameLength);
    this.imaginary = new Float64Array(frameLength);
    this.reset();
  }

  reset() {
    this.model.reset(this.channels);
    this.tails = Array.from({ length: this.channels }, () => new Float64Array(this.hop));
  }

  // Takes an array of channels, each the next (count + 1) * hop samples; returns the count hops that
  // became final. One call of the model for all of them: several hops at once are cheaper by far.
  async step(waves) {
    const { real, imaginary, window, hop, channels } = this;
    const count = waves[0].length / hop - 1;
    const second = waves[channels - 1];
    const spectra = new Float32Array(channels * count * (hop + 1) * 2);
    for (let frame = 0; frame < count; frame++) {
      for (let i = 0, at = frame * hop; i < 2 * hop; i++, at++) {
        real[i] = Math.fround(waves[0][at] * window[i]);
        imaginary[i] = channels === 2 ? Math.fround(second[at] * window[i]) : 0;
      }
      this.fourier.run(real, imaginary);
      this.pack(...this.of(spectra, frame, count));
    }
    const enhanced = await this.model.step(spectra);
    const finals = this.tails.map(() => new Float32Array(count * hop));
    for (let frame = 0; frame < count; frame++) {
      this.unpack(...this.of(enhanced, frame, count));
      this.fourier.run(imaginary, real); // parts exchanged: the inverse
      finals.forEach((final, channel) => {
        const [samples, tail] = [channel ? imaginary : real, this.tails[channel]];
        for (let i = 0, at = frame * hop; i < hop; i++, at++) {
          final[at] = tail[i] + (samples[i] / (2 * hop)) * window[i];
          tail[i] = (samples[hop + i] / (2 * hop)) * window[hop + i];
        }
      });
    }
    return finals;
  }

  // The spectra of one frame: a view for each channel.
  of(spectra, frame, count) {
    const size = (this.hop + 1) * 2;
    return this.tails.map((_, channel) => {
      const at = (channel * count + frame) * size;
      return spectra.subarray(at, at + size);
    });
  }

  // Spectra of the channels out of that of first + i * second.
  pack(first, second) {
    const { real, imaginary, hop } = this;
    for (let k = 0; k <= hop; k++) {
      const m = (2 * hop - k) % (2 * hop);
      first[2 * k] = (real[k] + real[m]) / 2;
      first[2 * k + 1] = (imaginary[k] - imaginary[m]) / 2;
      if (!second) continue;
      second[2 * k] = (imaginary[k] + imaginary[m]) / 2;
      second[2 * k + 1] = (real[m] - real[k]) / 2;
    }
  }

  unpack(first, second) {
    const { real, imaginary, hop } = this;
    for (let k = 0; k <= hop; k++) {
      const m = (2 * hop - k) % (2 * hop);
      const ends = k === 0 || k === hop; // of a real signal these bins are real
      const [aRe, aIm] = [first[2 * k], ends ? 0 : first[2 * k + 1]];
      const [bRe, bIm] = second ? [second[2 * k], ends ? 0 : second[2 * k + 1]] : [0, 0];
      real[m] = aRe + bIm;
      imaginary[m] = bRe - aIm;
      real[k] = aRe - bIm;
      imaginary[k] = aIm + bRe;
    }
  }
}

const REACH = 2 ** 16; // samples either way in which the original is looked for
const ALIKE = 0.3; // correlation under which two files are different music

// How many samples later the original has what the track has: where the cross-correlation of a few
// seconds from the middle of the track is largest.
export function lagOf(track, original) {
  const length = 2 * REACH;
  const start = Math.max(0, Math.floor((track[0].length - length) / 2));
  const mono = (channels, from, count) => Float64Array.from({ length: 4 * REACH }, (_, i) =>
    (i < count ? channels.reduce((sum, samples) => sum + (samples[from + i] ?? 0), 0) : 0));
  const fourier = new Fourier(4 * REACH);
  const [a, b] = [mono(track, start, length), mono(original, start - REACH, 4 * REACH)];
  const [re, im] = [a.slice(), b.slice()];
  fourier.run(re, im); // both in one transform, as the two channels of a frame
  const [real, imaginary] = [new Float64Array(4 * REACH), new Float64Array(4 * REACH)];
  for (let k = 0; k < 4 * REACH; k++) {
    const m = (4 * REACH - k) % (4 * REACH);
    const [aRe, aIm] = [(re[k] + re[m]) / 2, (im[k] - im[m]) / 2];
    const [bRe, bIm] = [(im[k] + im[m]) / 2, (re[m] - re[k]) / 2];
    real[k] = aRe * bRe + aIm * bIm;
    imaginary[k] = aRe * bIm - aIm * bRe;
  }
  fourier.run(imaginary, real); // parts exchanged: the inverse
  let best = REACH;
  for (let k = 0; k <= 2 * REACH; k++) if (real[k] > real[best]) best = k;
  const energy = (samples, from, count) =>
    samples.subarray(from, from + count).reduce((sum, value) => sum + value * value, 0);
  const both = Math.sqrt(energy(a, 0, length) * energy(b, best, length));
  if (!both) return 0; // one of them is silent there
  if (real[best] / (4 * REACH) < ALIKE * both) {
    throw new Error("the original and the track are different music, or more than a second apart");
  }
  return best - REACH;
}
