// Sound: the sources of one comparison are channels of one buffer, so they cannot drift apart;
// only their gains differ. Gains move by exponential ramps, which stay smooth when an order reaches
// the audio thread late.

const LEAD_S = 0.03; // orders are given this long before their time
const FADE_TAU_S = 0.002; // start, stop and seek
const SWITCH_TAU_S = 0.004; // the two ramps of a switch sum to one
const SEAM_TAU_S = 0.0007; // dip around the seam of a loop
const MIN_LOOP_S = 0.1;

const contexts = new Map(); // one AudioContext for each sample rate: browsers allow few
let sounding = null; // the engine that plays; starting another pauses it

function audioContext(sampleRate) {
  if (!contexts.has(sampleRate)) {
    contexts.set(sampleRate, new AudioContext({ sampleRate, latencyHint: "interactive" }));
  }
  return contexts.get(sampleRate);
}

// FLAC bytes to samples; an offline context decodes without a click and does not resample.
function decode(bytes, sampleRate) {
  return new OfflineAudioContext(1, 1, sampleRate).decodeAudioData(bytes);
}

// One buffer with the channels of all buffers, in order.
function stack(buffers) {
  const { numberOfChannels, length, sampleRate } = buffers[0];
  const all = new AudioBuffer({
    numberOfChannels: numberOfChannels * buffers.length, length, sampleRate,
  });
  buffers.forEach((buffer, source) => {
    for (let channel = 0; channel < numberOfChannels; channel++) {
      all.copyToChannel(buffer.getChannelData(channel), source * numberOfChannels + channel);
    }
  });
  return all;
}

class Engine extends EventTarget {
  // load() resolves to one AudioBuffer for each gain, all of one shape. `choices` says which source
  // each choice of the listener plays: in a blind test not simply the first, second, third.
  constructor({ sampleRate, seconds, gainsDb, load, choices = gainsDb.map((_, index) => index) }) {
    super();
    Object.assign(this, { sampleRate, seconds, load, choices });
    this.gains = gainsDb.map((db) => 10 ** (db / 20));
    this.buffer = null;
    this.state = "paused";
    this.active = 0;
    this.looping = false;
    this.region = null; // [start, end] in seconds, or null: the whole clip
    this.offset = 0;
    this.voice = null;
  }

  get loopRange() {
    return this.region ?? [0, this.seconds];
  }

  // Seconds into the clip at a time of the audio clock.
  positionAt(time) {
    const at = this.voice.offset + Math.max(0, time - this.voice.time);
    const [start, end] = this.voice.range;
    if (this.looping && at >= end) return start + ((at - start) % (end - start));
    return Math.min(at, this.seconds);
  }

  get position() {
    if (!this.voice) return this.offset;
    return this.positionAt(this.context.currentTime - (this.context.outputLatency || 0));
  }

  async play() {
    if (this.state !== "paused") return;
    if (sounding && sounding !== this) sounding.pause();
    sounding = this;
    this.context = audioContext(this.sampleRate);
    this.setState("loading");
    try {
      const resumed = this.context.resume();
      this.buffer ??= stack(await this.load());
      await resumed;
    } catch (error) {
      this.setState("paused");
      this.dispatchEvent(new CustomEvent("failure", { detail: error }));
      return;
    }
    if (this.state !== "loading") return; // paused meanwhile
    if (this.offset >= this.seconds - 0.01) this.offset = 0;
    this.start(this.offset, this.leadTime());
    this.setState("playing");
  }

  pause() {
    if (this.state === "paused") return;
    this.offset = this.position;
    this.stop(this.leadTime());
    this.setState("paused");
  }

  toggle() {
    return this.state === "paused" ? this.play() : this.pause();
  }

  seek(seconds) {
    this.offset = Math.min(Math.max(0, seconds), this.seconds);
    if (this.voice) this.start(this.offset, this.leadTime());
    this.changed();
  }

  select(index) {
    if (index < 0 || index >= this.choices.length) return;
    this.active = index;
    this.voice?.faders.forEach(({ gain }, source) => {
      gain.setTargetAtTime(this.level(source), this.leadTime(), SWITCH_TAU_S);
    });
    this.changed();
  }

  setLoop(looping, region = this.region) {
    const time = this.voice && this.leadTime();
    const at = this.voice ? this.positionAt(time) : this.offset;
    this.looping = looping;
    this.region = region && region[1] - region[0] >= MIN_LOOP_S ? region : null;
    if (this.voice) this.start(at, time);
    this.changed();
  }

  // Whole samples only: between two, the browser would interpolate, and that takes the treble.
  whole(seconds) {
    return Math.round(seconds * this.sampleRate) / this.sampleRate;
  }

  leadTime() {
    return this.whole(this.context.currentTime + LEAD_S);
  }

  level(source) {
    return source === this.choices[this.active] ? this.gains[source] : 0;
  }

  // Start every source at the same sample of the clock; what plays fades out from there.
  start(offset, time) {
    this.stop(time);
    const { context } = this;
    const range = this.loopRange.map((edge) => this.whole(edge));
    const [start, end] = range;
    if (this.looping && (offset < start || offset >= end)) offset = start;
    offset = this.whole(offset);
    const node = new AudioBufferSourceNode(context, {
      buffer: this.buffer, loop: this.looping, loopStart: start, loopEnd: end,
    });
    const [seam, fade] = [context.createGain(), new GainNode(context, { gain: 0 })];
    const faders = this.connectSources(node, seam);
    seam.connect(fade).connect(context.destination);
    fade.gain.setTargetAtTime(1, time, FADE_TAU_S);
    node.start(time, offset);
    const voice = { node, time, offset, range, faders, seam, fade, nextSeam: time + end - offset };
    node.onended = () => this.voice === voice && this.ended();
    this.voice = voice;
    if (this.looping) {
      this.scheduleSeams(voice, end - start);
      voice.timer = setInterval(() => this.scheduleSeams(voice, end - start), 500);
    }
  }

  // Split the buffer's channels into sources again, each through a gain of its own.
  connectSources(node, output) {
    const channels = this.buffer.numberOfChannels / this.gains.length;
    const splitter = this.context.createChannelSplitter(this.buffer.numberOfChannels);
    node.connect(splitter);
    return this.gains.map((_, source) => {
      const merger = this.context.createChannelMerger(channels);
      for (let channel = 0; channel < channels; channel++) {
        splitter.connect(merger, source * channels + channel, channel);
      }
      const fader = new GainNode(this.context, { gain: this.level(source) });
      merger.connect(fader).connect(output);
      return fader;
    });
  }

  // The jump from the end of a loop to its start would click: dip there, a few seconds ahead.
  scheduleSeams(voice, period) {
    const { gain } = voice.seam;
    while (voice.nextSeam < this.context.currentTime + 3) {
      gain.setTargetAtTime(0, voice.nextSeam - 7 * SEAM_TAU_S, SEAM_TAU_S);
      gain.setTargetAtTime(1, voice.nextSeam, SEAM_TAU_S);
      voice.nextSeam += period;
    }
  }

  stop(time) {
    if (!this.voice) return;
    const { voice } = this;
    this.voice = null;
    clearInterval(voice.timer);
    voice.fade.gain.setTargetAtTime(0, time, FADE_TAU_S);
    voice.node.stop(time + 10 * FADE_TAU_S);
    setTimeout(() => voice.fade.disconnect(), 500);
  }

  ended() {
    clearInterval(this.voice.timer);
    this.voice = null;
    this.offset = 0;
    this.setState("paused");
  }

  setState(state) {
    this.state = state;
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  dispose() {
    this.pause();
    this.buffer = null;
  }
}
