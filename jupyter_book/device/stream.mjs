// One frame at a time through the model, as enhancelib/frames.py and backends.py do it: windowed,
// transformed, enhanced, added up. The network's memory goes in and comes out as tensors.

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
      const dims = [channels, ...shape.slice(1)];
      const size = dims.reduce((product, size) => product * size, 1);
      this.feeds[name] = new this.ort.Tensor("float32", new Float32Array(size), dims);
    }
  }

  // Takes and returns Float32Array (channels, bins, 2).
  async step(spectrum) {
    this.feeds.spectrum = new this.ort.Tensor("float32", spectrum, this.feeds.spectrum.dims);
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

  // Takes an array of channels, each the next 2 * hop samples; returns the hop that became final.
  async step(frames) {
    const { real, imaginary, window, hop, channels } = this;
    const second = frames[channels - 1];
    for (let i = 0; i < 2 * hop; i++) {
      real[i] = Math.fround(frames[0][i] * window[i]);
      imaginary[i] = channels === 2 ? Math.fround(second[i] * window[i]) : 0;
    }
    this.fourier.run(real, imaginary);
    this.unpack(await this.model.step(this.pack()));
    this.fourier.run(imaginary, real); // parts exchanged: the inverse
    return [real, imaginary].slice(0, channels).map((samples, channel) => {
      const final = new Float32Array(hop);
      const tail = this.tails[channel];
      for (let i = 0; i < hop; i++) {
        final[i] = tail[i] + (samples[i] / (2 * hop)) * window[i];
        tail[i] = (samples[hop + i] / (2 * hop)) * window[hop + i];
      }
      return final;
    });
  }

  // Spectra of the channels out of that of first + i * second.
  pack() {
    const { real, imaginary, hop, channels } = this;
    const spectrum = new Float32Array(channels * (hop + 1) * 2);
    for (let k = 0; k <= hop; k++) {
      const m = (2 * hop - k) % (2 * hop);
      spectrum[2 * k] = (real[k] + real[m]) / 2;
      spectrum[2 * k + 1] = (imaginary[k] - imaginary[m]) / 2;
      if (channels === 1) continue;
      spectrum[2 * (hop + 1 + k)] = (imaginary[k] + imaginary[m]) / 2;
      spectrum[2 * (hop + 1 + k) + 1] = (real[m] - real[k]) / 2;
    }
    return spectrum;
  }

  unpack(spectrum) {
    const { real, imaginary, hop, channels } = this;
    for (let k = 0; k <= hop; k++) {
      const m = (2 * hop - k) % (2 * hop);
      const ends = k === 0 || k === hop; // of a real signal these bins are real
      const [aRe, aIm] = [spectrum[2 * k], ends ? 0 : spectrum[2 * k + 1]];
      const at = 2 * (hop + 1 + k);
      const [bRe, bIm] = channels === 2 ? [spectrum[at], ends ? 0 : spectrum[at + 1]] : [0, 0];
      real[m] = aRe + bIm;
      imaginary[m] = bRe - aIm;
      real[k] = aRe - bIm;
      imaginary[k] = aIm + bRe;
    }
  }
}
