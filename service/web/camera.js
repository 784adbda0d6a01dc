// The camera of the device in a <video>, as pictures.

import { encode } from "./shrink.js";

export class Camera {
  constructor(video) {
    this.video = video;
  }

  /** Whether this browser gives the page a camera; it does so on HTTPS and on localhost only. */
  static get isAvailable() {
    return Boolean(navigator.mediaDevices?.getUserMedia);
  }

  get isOn() {
    return this.video.srcObject !== null;
  }

  /** Start the rear camera; rejects where the person refuses it or there is none. */
  start() {
    this.starting ??= this.open().finally(() => (this.starting = null));
    return this.starting;
  }

  async open() {
    if (this.isOn) return;
    this.video.srcObject = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: { ideal: "environment" }, width: { ideal: 1280 }, height: { ideal: 1280 } },
      audio: false,
    });
    await this.video.play();
  }

  stop() {
    for (const track of this.video.srcObject?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
  }

  async picture() {
    const { blob } = await encode(this.video, this.video.videoWidth, this.video.videoHeight);
    return blob;
  }
}
