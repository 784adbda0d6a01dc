// Fetch ONNX Runtime for browsers with npm, check its hash, and write what the page needs into service/web/ort.
// make web runs this; it needs Node 18 or newer and npm.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const PACKAGE = "onnxruntime-web@1.30.0";
const SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==";
const FILES = ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"]; // WebAssembly on one CPU, and no other backend
const TARGET = fileURLToPath(new URL("../../service/web/ort/", import.meta.url));

const scratch = mkdtempSync(join(tmpdir(), "seefood-web-"));
try {
  const [{ filename }] = JSON.parse(execFileSync("npm", ["pack", "--json", PACKAGE], { cwd: scratch, encoding: "utf8" }));
  const found = createHash("sha512").update(readFileSync(join(scratch, filename))).digest("base64");
  if (found !== SHA512) {
    throw new Error(
      `${PACKAGE} has the SHA-512 ${found}, not ${SHA512}; nothing was written. ` +
        "Check the npm registry in use, or set the new hash in deploy/web/get-runtime.mjs.",
    );
  }
  execFileSync("tar", ["-xzf", filename, ...FILES.map((name) => `package/dist/${name}`)], { cwd: scratch });
  mkdirSync(TARGET, { recursive: true });
  for (const name of FILES) {
    const bytes = readFileSync(join(scratch, "package/dist", name));
    writeFileSync(join(TARGET, name), bytes);
    writeFileSync(join(TARGET, `${name}.gz`), gzipSync(bytes, { level: 9 }));
    const params = {
      [constants.BROTLI_PARAM_QUALITY]: 9, // 11 saves 1% and takes minutes
      [constants.BROTLI_PARAM_LGWIN]: 24,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    };
    writeFileSync(join(TARGET, `${name}.br`), brotliCompressSync(bytes, { params }));
    console.log(`${join(TARGET, name)}: ${bytes.length.toLocaleString("en")} bytes`);
  }
} catch (error) {
  const isAbsent = error.code === "ENOENT" && error.path === "npm";
  console.error(isAbsent ? `npm can't be run (${error.message}); install Node with npm.` : error.message);
  process.exitCode = 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
