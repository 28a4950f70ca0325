// Files in and out: what the reader opens, decoded; what was enhanced, as a file to keep.

const LONGEST_S = 900; // decoded, a quarter of an hour of stereo takes 320 MB

export const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

// The channels of a file or of a supplied clip, at the model's rate.
export async function decode(source, sampleRate) {
  const name = source.name ?? source.title;
  const bytes = source instanceof File ? await source.arrayBuffer() : await (await fetch(source.url)).arrayBuffer();
  let audio;
  try {
    audio = await new OfflineAudioContext(2, 1, sampleRate).decodeAudioData(bytes);
  } catch {
    throw new Error(`${name} is no audio that this browser can decode; try MP3, AAC, FLAC or WAV`);
  }
  if (audio.numberOfChannels > 2) {
    throw new Error(`${name} has ${audio.numberOfChannels} channels; mix it down to stereo`);
  }
  return Array.from({ length: audio.numberOfChannels }, (_, index) =>
    audio.getChannelData(index).slice());
}

// Decoding needs memory; the length is known before.
export async function refuseLong(file) {
  const url = URL.createObjectURL(file);
  const seconds = await new Promise((known) => {
    const probe = Object.assign(new Audio(), { preload: "metadata" });
    probe.onloadedmetadata = () => known(probe.duration);
    probe.onerror = () => known(0); // decoding will tell
    probe.src = url;
  });
  URL.revokeObjectURL(url);
  if (Number.isFinite(seconds) && seconds > LONGEST_S) {
    throw new Error(`${file.name} lasts ${clock(seconds)}; take one of at most ${clock(LONGEST_S)}`);
  }
}

// A WAV file of 16 bits, turned down as a whole where it would clip: { blob, loweredDb }.
export function wav(channels, sampleRate) {
  const [count, length] = [channels.length, channels[0].length];
  let peak = 1;
  for (const samples of channels) for (const value of samples) peak = Math.max(peak, Math.abs(value));
  const view = new DataView(new ArrayBuffer(44 + 2 * count * length));
  const text = (at, letters) => [...letters].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, view.byteLength - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, count, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, 2 * count * sampleRate, true);
  view.setUint16(32, 2 * count, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, view.byteLength - 44, true);
  const interleaved = new Int16Array(view.buffer, 44); // little-endian, as every device with a browser
  channels.forEach((samples, channel) => {
    for (let i = 0, at = channel; i < length; i++, at += count) {
      const value = Math.round((samples[i] / peak) * 32768);
      interleaved[at] = Math.min(32767, value);
    }
  });
  return { blob: new Blob([view.buffer], { type: "audio/wav" }), loweredDb: 20 * Math.log10(peak) };
}
