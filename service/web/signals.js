// Sound and vibration with a verdict, both off until a person turns them on.

import { recall, remember } from "./memory.js";

const NOTES = { yes: [523, 784], no: [220, 147], unsure: [330] }; // Hz, one after the other
const SECONDS = 0.16; // of one note
const VIBRATIONS = { yes: [80], no: [60, 60, 60], unsure: [30] }; // milliseconds on, off, on
let audio;

export function startSignals(sound, vibration) {
  vibration.closest("label").hidden = !navigator.vibrate;
  for (const [name, box] of Object.entries({ sound, vibration })) {
    box.checked = recall(name) === "on";
    box.addEventListener("change", () => {
      remember(name, box.checked ? "on" : "off");
      if (box.checked) signal("yes", name);
    });
  }
}

/** Give the signals that are on for yes, no or unsure. */
export function signal(kind, only) {
  if (recall("sound") === "on" && only !== "vibration") play(NOTES[kind]);
  if (recall("vibration") === "on" && only !== "sound") navigator.vibrate?.(VIBRATIONS[kind]);
}

function play(notes) {
  audio ??= new AudioContext();
  audio.resume();
  notes.forEach((frequency, index) => {
    const start = audio.currentTime + index * SECONDS;
    const gain = new GainNode(audio, { gain: 0 });
    gain.gain.setValueAtTime(0.2, start);
    gain.gain.exponentialRampToValueAtTime(0.001, start + SECONDS);
    const tone = new OscillatorNode(audio, { type: "triangle", frequency });
    tone.connect(gain).connect(audio.destination);
    tone.start(start);
    tone.stop(start + SECONDS);
  });
}
