/**
 * Why there is no answer. `kind` is the end of two keys in languages/: error.KIND and error.KIND.detail.
 */
export class Failure extends Error {
  constructor(kind) {
    super(kind);
    this.kind = kind;
  }
}
