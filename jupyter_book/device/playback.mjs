// The audio thread: rings of the lossy, the enhanced and the original signal on one playhead.
//
// The Worker fills the ring ahead of time, the lossy signal further than the enhanced one. Where the
// enhanced one is not there in time the lossy one passes through, cross-faded, and is counted; no
// gain moves by more than 1 / FADE per sample (_Mixer in enhancelib/enhance/streaming.py).

const FADE = 256;
const RING_S = 12; // longer than the Worker runs ahead
const TELL_WORKER_EVERY = 2048; // samples
const TELL_PAGE_EVERY = 8192; // a page that changes often costs more than the sound

registerProcessor("playback", class extends AudioWorkletProcessor {
  constructor({ processorOptions: { samples } }) {
    super();
    this.samples = samples;
    this.size = RING_S * sampleRate;
    this.lossy = [0, 1].map(() => new Float32Array(this.size));
    this.enhanced = [0, 1].map(() => new Float32Array(this.size));
    this.original = [0, 1].map(() => new Float32Array(this.size));
    Object.assign(this, { playing: false, heard: 1, level: 1, origin: 0, volume: 0, order: null });
    Object.assign(this, { amount: 1, blended: 1 });
    Object.assign(this, { late: 0, stalled: 0, quanta: 0, clock: 0 });
    this.energies = [0, 0]; // of the lossy sound and of what is changed, in the last second or so
    this.begin({ epoch: 0, at: 0 });
    this.port.onmessage = ({ data }) => this.obey(data);
  }

  obey({ port, ...order }) {
    if (port) {
      this.worker = port;
      port.onmessage = ({ data }) => this.fill(data);
    }
    if (order.end) this.ended = true;
    if (order.epoch !== undefined) this.order = order;
    if (order.playing !== undefined) this.playing = order.playing;
    if (order.heard !== undefined) this.heard = order.heard;
    if (order.amount !== undefined) this.amount = order.amount;
  }

  begin({ epoch, at }) {
    Object.assign(this, { epoch, position: at, lossyEnd: at, originalEnd: at, ranges: [], need: FADE });
    Object.assign(this, { waiting: true, presence: 1, order: null, later: [] });
  }

  // A block of the stream; one of an epoch that is yet to begin is kept for it.
  fill(block) {
    if (this.order?.epoch === block.epoch) this.later.push(block);
    if (block.epoch !== this.epoch) return;
    const { kind, at, channels, need } = block;
    if (kind === "enough") return void (this.need = 0);
    if (kind === "original" && at > this.originalEnd) this.originalEnd = at; // it came later
    this[kind].forEach((samples, channel) => {
      const source = channels[channel % channels.length];
      const start = at % this.size;
      const first = Math.min(source.length, this.size - start);
      samples.set(source.subarray(0, first), start);
      samples.set(source.subarray(first), 0);
    });
    const end = at + channels[0].length;
    if (kind === "lossy") this.lossyEnd = end;
    else if (kind === "original") this.originalEnd = end;
    else {
      this.need = need;
      const last = this.ranges.at(-1);
      if (last?.end === at) last.end = end;
      else this.ranges.push({ start: at, end });
    }
  }

  // How many enhanced samples are there from the playhead on.
  get ready() {
    while (this.ranges.length && this.ranges[0].end <= this.position) this.ranges.shift();
    const [range] = this.ranges;
    if (!range || range.start > this.position) return 0;
    return range.end >= this.samples ? Infinity : range.end - this.position;
  }

  process(_, outputs) {
    if (this.order && this.volume === 0) {
      const { later, order } = this;
      this.begin(order);
      later.forEach((block) => this.fill(block));
    }
    const count = outputs[0][0].length;
    const there = this.lossyEnd - this.position >= Math.min(count, this.samples - this.position);
    if (this.waiting && there && (this.ready >= this.need || this.heard !== 1)) this.waiting = false;
    const sounding = this.playing && !this.waiting && !this.order;
    if ((sounding || this.volume > 0) && this.position < this.samples) {
      if (there) this.render(outputs, count, sounding);
      else this.stalled++;
    }
    if (!there || this.waiting) this.volume = 0;
    if (this.position >= this.samples) Object.assign(this, { playing: false, volume: 0 });
    this.report(count);
    return !this.ended; // or it would run on, with its rings, though nobody hears it
  }

  render([mix, lossyOut, enhancedOut], count, sounding) {
    const { ready } = this;
    const left = Math.min(count, this.samples - this.position);
    const original = this.heard === 2 && this.originalEnd - this.position >= left ? 1 : 0;
    const wanted = Math.min(1, this.heard); // while the original is awaited, the enhanced one
    let whole = true;
    for (let i = 0; i < left; i++) { // behind the end the ring has what sounded 12 s before
      const step = 1 / FADE;
      this.volume = Math.min(1, Math.max(0, this.volume + (sounding ? step : -step)));
      this.presence = Math.min(1, this.presence + step, Math.max(0, (ready - i) / FADE));
      this.level += Math.min(step, Math.max(-step, wanted - this.level));
      this.origin += Math.min(step, Math.max(-step, original - this.origin));
      this.blended += Math.min(step, Math.max(-step, this.amount - this.blended));
      whole &&= this.presence === 1;
      const share = this.presence * this.level;
      const at = (this.position + i) % this.size;
      for (let channel = 0; channel < 2; channel++) {
        const lossy = this.lossy[channel][at] * this.volume;
        const full = this.presence ? this.enhanced[channel][at] * this.volume : lossy;
        const enhanced = (1 - this.blended) * lossy + this.blended * full;
        lossyOut[channel][i] = lossy;
        enhancedOut[channel][i] = enhanced;
        const mixed = (1 - share) * lossy + share * enhanced;
        mix[channel][i] = this.origin
          ? (1 - this.origin) * mixed + this.origin * this.original[channel][at] * this.volume
          : mixed;
        if (this.presence < 1) continue;
        this.energies[0] += lossy * lossy;
        this.energies[1] += (full - lossy) ** 2;
      }
    }
    this.position += left;
    this.quanta++;
    if (this.heard === 1 && !whole) this.late++;
  }

  report(count) {
    this.clock += count;
    const { epoch, position, waiting, late, stalled, quanta, need, samples } = this;
    if (this.clock % TELL_WORKER_EVERY < count) this.worker?.postMessage({ epoch, position });
    if (this.clock % TELL_PAGE_EVERY >= count && position < samples) return;
    if (this.told === position) return; // at the end or paused, once is enough
    this.told = waiting ? -1 : position;
    const ready = Math.min(this.ready, samples - position);
    const changeDb = 10 * Math.log10(this.energies[1] / this.energies[0]);
    this.energies = this.energies.map((energy) => 0.8 * energy);
    this.port.postMessage({ epoch, position, waiting, late, stalled, quanta, ready, need, changeDb });
  }
});
