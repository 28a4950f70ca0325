// Sound: all sources of one comparison run in step on one clock; only their gains differ.

const LEAD_S = 0.03; // orders reach the audio thread before their time, also on a busy machine
const FADE_S = 0.008; // start, stop and seek
const SWITCH_TAU_S = 0.004; // two exponential ramps whose sum stays one
const SEAM_S = 0.004; // dip around the seam of a loop
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

class Engine extends EventTarget {
  // load() resolves to one AudioBuffer for each gain, all equally long.
  constructor({ sampleRate, seconds, gainsDb, load }) {
    super();
    Object.assign(this, { sampleRate, seconds, load });
    this.gains = gainsDb.map((db) => 10 ** (db / 20));
    this.buffers = null;
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
      this.buffers ??= await this.load();
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
    if (index < 0 || index >= this.gains.length) return;
    this.active = index;
    this.voice?.faders.forEach((fader, source) => {
      fader.gain.setTargetAtTime(this.level(source), this.leadTime(), SWITCH_TAU_S);
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
    return source === this.active ? this.gains[source] : 0;
  }

  // Start every source at the same sample of the clock; what plays fades out from there.
  start(offset, time) {
    this.stop(time);
    const { context } = this;
    const range = this.loopRange.map((edge) => this.whole(edge));
    const [start, end] = range;
    if (this.looping && (offset < start || offset >= end)) offset = start;
    offset = this.whole(offset);
    const [seam, fade] = [context.createGain(), context.createGain()];
    seam.connect(fade).connect(context.destination);
    fade.gain.setValueAtTime(0, time);
    fade.gain.linearRampToValueAtTime(1, time + FADE_S);
    const faders = this.buffers.map((buffer, source) => {
      const fader = context.createGain();
      fader.gain.value = this.level(source);
      fader.connect(seam);
      const node = new AudioBufferSourceNode(context, {
        buffer, loop: this.looping, loopStart: start, loopEnd: end,
      });
      node.connect(fader);
      node.start(time, offset);
      return Object.assign(fader, { node });
    });
    const voice = { time, offset, range, faders, seam, fade, nextSeam: time + end - offset };
    faders[0].node.onended = () => this.voice === voice && this.ended();
    this.voice = voice;
    if (this.looping) {
      this.scheduleSeams(voice, end - start);
      voice.timer = setInterval(() => this.scheduleSeams(voice, end - start), 500);
    }
  }

  // The jump from the end of a loop to its start would click: dip there, a few seconds ahead.
  scheduleSeams(voice, period) {
    const { gain } = voice.seam;
    while (voice.nextSeam < this.context.currentTime + 3) {
      gain.setValueAtTime(1, voice.nextSeam - SEAM_S);
      gain.linearRampToValueAtTime(0, voice.nextSeam);
      gain.linearRampToValueAtTime(1, voice.nextSeam + SEAM_S);
      voice.nextSeam += period;
    }
  }

  stop(time) {
    if (!this.voice) return;
    const { voice } = this;
    this.voice = null;
    clearInterval(voice.timer);
    voice.fade.gain.setTargetAtTime(0, time, FADE_S / 4);
    voice.faders.forEach((fader) => fader.node.stop(time + 3 * FADE_S));
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
    this.buffers = null;
  }
}
