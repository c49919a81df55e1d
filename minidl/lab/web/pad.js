// The pad to draw on: strokes of a mouse, a finger or a pen, as lists of points in shares of the pad.

const NEAR = 0.006; // points closer than this to the one before are left out
const MOST = 1900; // the server takes 2,000
const BRUSH = 0.085; // of the pad: about as thick as MNIST's lines are beside its digits

export class Pad {
  // changed(): called after every change; pressed tells whether the pen is down.
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.strokes = [];
    this.image = null; // 28 × 28 pixels, 0 to 255, that are shown instead of strokes
    this.pressed = false;
    this.pointer = null; // whose stroke it is; a second finger draws none
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.end(event));
  }

  get points() {
    return this.strokes.reduce((sum, stroke) => sum + stroke.length, 0);
  }

  begin(event) {
    if (event.button !== 0 || this.pressed) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.pressed = true;
    this.pointer = event.pointerId;
    this.image = null;
    this.strokes.push([this.place(event)]);
    this.draw();
    this.changed();
  }

  move(event) {
    if (!this.pressed || event.pointerId !== this.pointer) return;
    const stroke = this.strokes.at(-1);
    for (const each of event.getCoalescedEvents?.() ?? [event]) {
      const point = this.place(each);
      const far = Math.hypot(point[0] - stroke.at(-1)[0], point[1] - stroke.at(-1)[1]) > NEAR;
      if (far && this.points < MOST) stroke.push(point);
    }
    this.draw();
    this.changed();
  }

  end(event) {
    if (!this.pressed || event.pointerId !== this.pointer) return;
    this.pressed = false;
    this.changed();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = (value) => Math.round(Math.min(1, Math.max(0, value)) * 1e4) / 1e4;
    return [share((event.clientX - box.left) / box.width), share((event.clientY - box.top) / box.height)];
  }

  set(strokes, image = null) {
    this.pressed = false; // what is being drawn is gone
    this.strokes = strokes;
    this.image = image;
    this.draw();
  }

  draw() {
    const { width, height } = this.canvas;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    context.strokeStyle = context.fillStyle = getComputedStyle(this.canvas).color;
    context.lineWidth = BRUSH * width;
    context.lineCap = context.lineJoin = "round";
    this.image?.forEach((ink, i) => {
      context.globalAlpha = ink / 255;
      context.fillRect((i % 28) * (width / 28), Math.floor(i / 28) * (height / 28), width / 28 + 0.5, height / 28 + 0.5);
    });
    context.globalAlpha = 1;
    for (const stroke of this.strokes) {
      context.beginPath();
      context.moveTo(stroke[0][0] * width, stroke[0][1] * height);
      for (const [x, y] of stroke) context.lineTo(x * width, y * height);
      context.stroke();
    }
  }
}
