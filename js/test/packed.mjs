// Packs the package, installs it into an empty project, and imports everything that it exports.
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const dir = mkdtempSync(join(tmpdir(), "streamhub-pack-"))
try {
  const [packed] = JSON.parse(execFileSync("npm", ["pack", "--json", "--pack-destination", dir], { encoding: "utf8" }))
  const files = packed.files.map((file) => file.path)
  for (const file of ["LICENSE", "README.md", "package.json", "dist/streamhub.min.js"]) assert.ok(files.includes(file), `${file} is not packed`)
  assert.deepEqual(files.filter((file) => !/^(dist\/[\w.-]+\.(js|d\.ts)|LICENSE|README\.md|package\.json)$/.test(file)), [])

  writeFileSync(join(dir, "package.json"), '{"type":"module"}')
  const quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--offline", "--legacy-peer-deps"]
  execFileSync("npm", ["install", ...quiet, join(dir, packed.filename)], { cwd: dir, stdio: ["ignore", "ignore", "inherit"] })
  const { name, exports, peerDependencies = {} } = JSON.parse(readFileSync("package.json", "utf8"))
  for (const [path, { types }] of Object.entries(exports)) {
    assert.ok(files.includes(types.slice(2)), `the types of ${path} are not packed`)
    const peer = path.slice(2) in peerDependencies // it is not installed here
    if (!peer) execFileSync("node", ["-e", `import(${JSON.stringify(name + path.slice(1))})`], { cwd: dir, stdio: "inherit" })
  }
  console.log(`packed: ${packed.filename}, ${files.length} files, ${packed.size} bytes`)
} finally {
  rmSync(dir, { recursive: true, force: true })
}
