/**
 * A strip chart: the paper moves to the left, and the pens at the right edge draw on it.
 *
 * @typedef {{time: number, values: number[], isMarked?: boolean}} Point  Seconds, and one value for each pen.
 * @typedef {{width: number, opacity: number, fill?: boolean}} Pen
 */

/** Two measurements further apart than this, in seconds, are not joined: nobody knows what was between them. */
const GAP_SECONDS = 2.6;

const PADDING = 10;

/** Draws on one canvas. Its colors and its font come from the style sheet. */
export class StripChart {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{label: (value: number) => string, hasClock?: boolean}} options  How a value on the scale is written, and
   *   whether the times stand below.
   */
  constructor(canvas, { label, hasClock = false }) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.label = label;
    this.hasClock = hasClock;
    /** Seconds from the left edge to the pens. */
    this.seconds = 90;
    this.restyle();
  }

  /** Take size and colors from the style sheet again. */
  restyle() {
    const style = getComputedStyle(this.canvas);
    const ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.font = `${style.fontSize} ${style.fontFamily}`;
    this.ink = style.color;
    this.grid = style.getPropertyValue("--grid").trim();
    this.trace = style.getPropertyValue("--trace").trim();
    this.mark = style.getPropertyValue("--replay").trim();
    this.context.font = this.font;
    this.left = PADDING + this.context.measureText("100 %").width + 8;
    this.right = this.width - 16;
    this.top = 16;
    this.bottom = this.height - (this.hasClock ? 30 : 16);
    this.seconds = this.width < 480 ? 45 : 90;
  }

  /**
   * Draw everything.
   *
   * @param {Point[]} points  In order of time.
   * @param {Pen[]} pens
   * @param {number} now  The time under the pens, in seconds.
   * @param {number} ceiling  The value at the top.
   */
  draw(points, pens, now, ceiling) {
    const { context } = this;
    context.clearRect(0, 0, this.width, this.height);
    this.#drawPaper(now, ceiling);
    const x = (time) => this.right - ((now - time) * (this.right - this.left)) / this.seconds;
    const y = (value) => this.bottom - (Math.min(value, ceiling) / ceiling) * (this.bottom - this.top);
    const runs = this.#findRuns(points, now);
    context.save();
    context.beginPath();
    context.rect(this.left, 0, this.right - this.left, this.height);
    context.clip();
    this.#drawMarks(points, x);
    context.strokeStyle = context.fillStyle = this.trace;
    context.lineJoin = "round";
    pens.forEach((pen, index) => {
      for (const run of runs) this.#drawLine(run, index, pen, x, y);
    });
    context.restore();
    this.#drawTips(runs, pens, now, y);
  }

  #drawPaper(now, ceiling) {
    const { context } = this;
    context.font = this.font;
    context.strokeStyle = this.grid;
    context.fillStyle = this.ink;
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const part of [0, 0.5, 1]) {
      const y = Math.round(this.bottom - part * (this.bottom - this.top)) + 0.5;
      this.#stroke(this.left, y, this.right, y);
      context.fillText(this.label(part * ceiling), this.left - 8, y);
    }
    context.textAlign = "center";
    const step = 15;
    for (let time = Math.ceil((now - this.seconds) / step) * step; time <= now; time += step) {
      const x = this.right - ((now - time) * (this.right - this.left)) / this.seconds;
      this.#stroke(x, this.top, x, this.bottom);
      if (!this.hasClock) continue;
      // Near the edges a label would be cut: it fades in and out instead.
      const room = Math.min(x - this.left + 16, this.right - x + 4);
      context.globalAlpha = Math.max(0, Math.min(1, room / 24 - 0.4));
      context.fillText(
        new Date(time * 1000).toLocaleTimeString("en-GB"),
        Math.min(x, this.width - 30),
        this.bottom + 16,
      );
      context.globalAlpha = 1;
    }
  }

  /** Lay a band under the points that are marked. */
  #drawMarks(points, x) {
    const { context } = this;
    context.fillStyle = this.mark;
    points.forEach((point, index) => {
      if (!point.isMarked) return;
      const before = points[index - 1] ?? point;
      context.globalAlpha = 0.18;
      context.fillRect(x(before.time), this.top, x(point.time) - x(before.time), this.bottom - this.top);
      if (before.isMarked) return;
      context.globalAlpha = 1;
      context.textAlign = "left";
      context.fillText("replayed", x(before.time), this.top / 2);
    });
    context.globalAlpha = 1;
  }

  #stroke(fromX, fromY, toX, toY) {
    this.context.beginPath();
    this.context.moveTo(fromX, fromY);
    this.context.lineTo(toX, toY);
    this.context.stroke();
  }

  /** Cut the points at gaps, and leave out what has moved off the paper. */
  #findRuns(points, now) {
    const runs = [];
    let before = null;
    for (const point of points) {
      if (point.time >= now - this.seconds - GAP_SECONDS) {
        if (before === null || point.time - before.time > GAP_SECONDS) runs.push([]);
        runs.at(-1).push(point);
        before = point;
      }
    }
    return runs;
  }

  #drawLine(run, index, pen, x, y) {
    const { context } = this;
    context.beginPath();
    for (const point of run) context.lineTo(x(point.time), y(point.values[index]));
    context.globalAlpha = pen.opacity;
    context.lineWidth = pen.width;
    context.stroke();
    if (pen.fill && run.length > 1) {
      context.lineTo(x(run.at(-1).time), this.bottom);
      context.lineTo(x(run[0].time), this.bottom);
      context.globalAlpha = 0.1;
      context.fill();
    }
    context.globalAlpha = 1;
  }

  /** Draw the points of the pens, between two measurements where the time is between them. */
  #drawTips(runs, pens, now, y) {
    const { context } = this;
    const run = runs.find((some) => some[0].time <= now && some.at(-1).time >= now);
    if (!run) return;
    const next = run.findIndex((point) => point.time >= now);
    const [a, b] = [run[Math.max(0, next - 1)], run[next]];
    const part = a === b ? 0 : (now - a.time) / (b.time - a.time);
    pens.forEach((pen, index) => {
      if (!pen.fill) return;
      context.beginPath();
      context.arc(
        this.right,
        y(a.values[index] + part * (b.values[index] - a.values[index])),
        4,
        0,
        2 * Math.PI,
      );
      context.fillStyle = this.trace;
      context.fill();
    });
  }
}
