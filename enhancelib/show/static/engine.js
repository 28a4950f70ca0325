// Sound: each source of a comparison is a node of its own. All start at the same sample of one clock,
// so they cannot drift apart; only their gains differ. Gains move by exponential ramps, which stay
// smooth when an order reaches the audio thread late. Sources do not: see `start`.

const LEAD_S = 0.03; // orders are given this long before their time
const CALM_LEAD_S = 0.1; // and those that nobody waits for
const LONGEST_LEAD_S = 0.5; // where they come too late, it is doubled up to here
const FADE_TAU_S = 0.002; // start, stop and seek: two ramps that sum to one
const SWITCH_TAU_S = 0.004; // so do those of a switch
const SEAM_TAU_S = 0.0007; // dip around the seam of a loop
const MIN_LOOP_S = 0.1;
const SHORT_S = 20; // a clip as short as this loops unasked
const AHEAD_S = 0.3; // is there before the sound begins

const contexts = new Map(); // one AudioContext for each sample rate: browsers allow few
let sounding = null; // the engine that plays; starting another pauses it

function audioContext(sampleRate) {
  if (!contexts.has(sampleRate)) {
    contexts.set(sampleRate, new AudioContext({ sampleRate, latencyHint: "interactive" }));
  }
  return contexts.get(sampleRate);
}

const linear = (db) => 10 ** (db / 20);

class Engine extends EventTarget {
  // load(source) yields { buffer, seconds }: a buffer of the whole length, and how much of it is
  // there yet. `choices` says which source each choice of the listener plays: in a blind test not
  // simply the first, second, third. `together`: no sound before all sources are there, so that
  // waiting does not tell which one it is. `errors`: for each source the gain in dB at which its
  // difference to the source `reference` is heard, and the gains that undo the scaling of files.
  constructor({
    sampleRate, seconds, gainsDb, load, choices = gainsDb.map((_, index) => index),
    together = false, reference = null, errors = [],
  }) {
    super();
    Object.assign(this, { sampleRate, seconds, load, choices, together, reference, errors });
    this.gains = gainsDb.map(linear);
    this.buffers = gainsDb.map(() => null);
    this.loaded = gainsDb.map(() => 0); // seconds
    this.loading = false;
    this.state = "paused";
    this.active = 0;
    this.difference = false; // hear the reference less the active source
    this.wish = null; // what was chosen while it plays and is not loaded yet
    this.looping = seconds <= SHORT_S;
    this.region = null; // [start, end] in seconds, or null: the whole clip
    this.offset = 0;
    this.voice = null;
  }

  get loopRange() {
    return this.region ?? [0, this.seconds];
  }

  // Seconds into the clip at a time of the audio clock.
  positionAt(time, voice = this.voice) {
    const at = voice.offset + Math.max(voice.before, time - voice.time);
    const [start, end] = voice.range;
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
      this.loadAll();
      await resumed;
      this.proceed();
    } catch (error) {
      this.fail(error);
    }
  }

  // The sound begins, or goes on, once there is enough of it.
  proceed() {
    if (this.state !== "loading" || this.context.state !== "running") return;
    if (this.offset >= this.seconds - 0.01) this.offset = 0;
    if (!this.ready(this.offset)) return;
    this.start(this.offset, this.leadTime());
    this.setState("playing");
  }

  pause() {
    if (this.state === "paused") return;
    this.offset = this.position;
    this.stop(this.leadTime());
    if (this.wish) Object.assign(this, this.wish, { wish: null });
    this.setState("paused");
  }

  // Which sources have to be there for this to be heard.
  needs({ active, difference }) {
    if (this.together) return this.gains.map((_, source) => source);
    return difference ? [this.choices[active], this.reference] : [this.choices[active]];
  }

  // How many seconds of it are there.
  extent(heard = this) {
    return Math.min(...this.needs(heard).map((source) => this.loaded[source]));
  }

  ready(at, heard = this) {
    return this.extent(heard) >= Math.min(this.seconds, at + AHEAD_S);
  }

  // One source after the other, first what the listener waits for.
  async loadAll() {
    if (this.loading) return;
    this.loading = true;
    try {
      for (;;) {
        const order = [...this.needs(this.wish ?? this), ...this.gains.keys()];
        const source = order.find((each) => this.loaded[each] < this.seconds);
        if (source === undefined) break;
        for await (const part of this.load(source)) this.take(source, part);
      }
    } catch (error) {
      this.fail(error);
    }
    this.loading = false;
  }

  // More of a source: what sounds goes on at the same sample, now with it.
  take(source, { buffer, seconds }) {
    this.buffers[source] = buffer;
    this.loaded[source] = seconds;
    const time = this.voice && this.leadTime(CALM_LEAD_S);
    const at = this.voice ? this.positionAt(time) : this.offset;
    if (this.wish && this.ready(at, this.wish)) Object.assign(this, this.wish, { wish: null });
    if (this.voice) this.start(at, time, -CALM_LEAD_S);
    this.proceed();
    this.changed();
  }

  fail(error) {
    this.wish = null;
    if (this.state === "loading") this.setState("paused");
    this.dispatchEvent(new CustomEvent("failure", { detail: error }));
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
    const { difference } = this.wish ?? this;
    this.hear({ active: index, difference: difference && index !== this.reference });
  }

  setDifference(difference) {
    const { active } = this.wish ?? this;
    if (this.reference !== null && active !== this.reference) this.hear({ active, difference });
  }

  hear(wish) {
    const later = this.voice && !this.ready(this.position, wish);
    this.wish = later ? wish : null;
    if (!later) Object.assign(this, wish);
    this.voice?.faders.forEach((fader, source) => {
      fader?.gain.setTargetAtTime(this.level(source), this.leadTime(), SWITCH_TAU_S);
    });
    if (this.voice) this.watch();
    else this.proceed();
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

  leadTime(lead = LEAD_S) {
    return this.whole(this.context.currentTime + lead);
  }

  level(source) {
    const active = this.choices[this.active];
    if (!this.difference) return source === active ? this.gains[source] : 0;
    const { gainDb, undoDb, referenceUndoDb } = this.errors[active];
    if (source === this.reference) return linear(gainDb + referenceUndoDb);
    return source === active ? -linear(gainDb + undoDb) : 0;
  }

  // Start every source at the same sample of the clock; what plays fades out from there. `before`
  // is negative where the clip was at this place of it even before. On a busy machine the time may
  // be over before all is ordered. Then sources begin late, each by itself, out of step with the
  // others and with the dips at the seams: so nobody hears these, and others are given more time.
  start(offset, time, before = 0, lead = LEAD_S) {
    const { context } = this;
    const range = this.loopRange.map((edge) => this.whole(edge));
    const [start, end] = range;
    if (this.looping && (offset < start || offset >= end)) offset = start;
    offset = this.whole(offset);
    const [seam, fade] = [context.createGain(), new GainNode(context, { gain: 0 })];
    const [nodes, faders] = [[], []];
    this.buffers.forEach((buffer, source) => {
      if (!buffer) return;
      const node = new AudioBufferSourceNode(context, {
        buffer, loop: this.looping, loopStart: start, loopEnd: end,
      });
      faders[source] = new GainNode(context, { gain: this.level(source) });
      node.connect(faders[source]).connect(seam);
      node.start(time, offset);
      nodes.push(node);
    });
    seam.connect(fade).connect(context.destination);
    const nextSeam = time + end - offset;
    const voice = { nodes, time, offset, before, range, faders, seam, fade, nextSeam };
    if (context.currentTime >= time && lead < LONGEST_LEAD_S) {
      this.silence(voice);
      const next = this.leadTime(2 * lead);
      this.start(this.positionAt(next, voice), next, time + before - next, 2 * lead);
      return;
    }
    this.stop(time);
    fade.gain.setTargetAtTime(1, time, FADE_TAU_S);
    nodes[0].onended = () => this.voice === voice && this.ended();
    this.voice = voice;
    this.watch();
    if (this.looping) {
      this.scheduleSeams(voice, end - start);
      voice.timer = setInterval(() => this.scheduleSeams(voice, end - start), 500);
    }
  }

  silence({ nodes, fade }) {
    for (const node of nodes) node.stop();
    fade.disconnect();
  }

  // Where the sound would run out before the rest of it has come, it waits.
  watch() {
    const { voice } = this;
    clearTimeout(voice.end);
    const extent = this.extent();
    if (extent >= this.seconds || (this.looping && voice.range[1] <= extent)) return;
    const left = extent - this.positionAt(this.context.currentTime) - 2 * LEAD_S;
    voice.end = setTimeout(() => {
      if (this.voice !== voice) return;
      this.offset = this.position;
      this.stop(this.leadTime());
      this.setState("loading");
    }, Math.max(0, 1000 * left));
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
    clearTimeout(voice.end);
    voice.fade.gain.setTargetAtTime(0, time, FADE_TAU_S);
    for (const node of voice.nodes) node.stop(time + LONGEST_LEAD_S); // the ramp may begin late
    setTimeout(() => voice.fade.disconnect(), 1000);
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
    this.buffers.fill(null);
    this.loaded.fill(0);
  }
}
