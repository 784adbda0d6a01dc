// Swipes on the photo: right is the positive label, left the negative one.

const FAR = 70; // px

/**
 * @param view the element that is swiped
 * @param hint the element that says what the swipe would do
 * @param names returns what right and left mean, in words
 * @param done called with right or left
 */
export function startSwipes(view, hint, names, done) {
  let start = null;
  const direction = (event) => (event.clientX - start.x > FAR ? "right" : start.x - event.clientX > FAR ? "left" : "");
  const stop = () => {
    start = null;
    hint.style.opacity = 0;
  };
  view.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary) return;
    start = { x: event.clientX };
    view.setPointerCapture(event.pointerId);
  });
  view.addEventListener("pointermove", (event) => {
    if (!start) return;
    const to = direction(event);
    hint.textContent = to ? names()[to] : "";
    hint.style.opacity = to ? 1 : 0;
  });
  view.addEventListener("pointerup", (event) => {
    const to = start && direction(event);
    stop();
    if (to) done(to);
  });
  view.addEventListener("pointercancel", stop);
}
