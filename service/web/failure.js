/** Why there is no answer; its texts in languages/ are error.KIND and error.KIND.detail. */
export class Failure extends Error {
  constructor(kind) {
    super(kind);
    this.kind = kind;
  }
}
