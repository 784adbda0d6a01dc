// What the page says of a photo.

const percent = (share) => new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 0 }).format(share);

/** Return a label as people write it. */
export function labelText(label) {
  const words = label.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

/** Return who disagrees with whom, in a few words for the queue. */
export function summary(photo) {
  const said = photo.model ? labelText(photo.model.label) : "no verdict";
  if (photo.conflict) return `${said} · senders disagree`;
  const [vote] = photo.votes;
  if (!vote) return `${said} · ${photo.reason}`;
  return vote.label === photo.model?.label ? `${said} · agreed` : `${said} · sender: ${labelText(vote.label)}`;
}

/** Return the lines about a photo, as {text, kind, sender}. */
export function facts(photo, positive) {
  const lines = [];
  if (photo.conflict) lines.push({ text: "The senders disagree", kind: "conflict" });
  if (photo.model) {
    const { label, probability, unfamiliar, version } = photo.model;
    const share = percent(label === positive ? probability : 1 - probability);
    lines.push({ text: `Model ${version}: ${labelText(label)}, ${share}${unfamiliar ? ", unfamiliar" : ""}` });
  }
  const votes = photo.votes.slice(0, 6);
  for (const { sender, label } of votes) {
    const kind = photo.model && label !== photo.model.label ? "against" : "";
    lines.push({ text: `${who(sender, photo)}: ${labelText(label)}`, kind, sender });
  }
  if (photo.votes.length > votes.length) lines.push({ text: `and ${photo.votes.length - votes.length} more votes` });
  const decided = photo.state === "accepted" ? `, accepted as ${labelText(photo.label)}` : `, ${photo.state}`;
  lines.push({ text: `No. ${photo.id}, ${photo.reason}, ${photo.received.replace("T", " ").slice(0, 16)}${decided}`, kind: "small" });
  return lines;
}

function who(sender, photo) {
  return sender === photo.sender ? `Sender (${sender})` : `Another sender (${sender})`;
}
