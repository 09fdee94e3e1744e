// RUN: attnc-opt %s | filecheck %s
// RUN: attnc-opt %s --print-op-generic | attnc-opt | filecheck %s

// CHECK: func.func @main(%x: tensor<1x17x64xf32> {onnx.name = "x"}, %t: tensor<3x!onnx.string>)
func.func @main(%x: tensor<1x17x64xf32> {onnx.name = "x"}, %t: tensor<3x!onnx.string>) -> tensor<1x17x64xf32> {
  // CHECK-NEXT: %scale = onnx.Constant #nn.ref<"norm.weight"> : tensor<64xf32>
  %scale = onnx.Constant #nn.ref<"norm.weight"> : tensor<64xf32>
  // CHECK-NEXT: %shape = onnx.Constant dense<[1, 17, 64]> : tensor<3xi64>
  %shape = onnx.Constant dense<[1, 17, 64]> : tensor<3xi64>
  // CHECK-NEXT: %nothing = onnx.Constant dense<> : tensor<0xi64>
  %nothing = onnx.Constant dense<> : tensor<0xi64>
  // CHECK-NEXT: %holds = onnx.Constant dense<true> : tensor<i1>
  %holds = onnx.Constant dense<true> : tensor<i1>
  // CHECK-NEXT: %y = onnx.LayerNormalization(%x, %scale, _) {axis = -1 : i64} -> ["y"] since 17 : (tensor<1x17x64xf32>, tensor<64xf32>) -> tensor<1x17x64xf32>
  %y = onnx.LayerNormalization(%x, %scale, _) {axis = -1 : i64} -> ["y"] since 17 : (tensor<1x17x64xf32>, tensor<64xf32>) -> tensor<1x17x64xf32>
  // CHECK-NEXT: %z = onnx.Custom<"com.microsoft", "BiasGelu">(%y, %scale) -> ["z"] since 1 : (tensor<1x17x64xf32>, tensor<64xf32>) -> tensor<1x17x64xf32>
  %z = onnx.Custom<"com.microsoft", "BiasGelu">(%y, %scale) -> ["z"] since 1 : (tensor<1x17x64xf32>, tensor<64xf32>) -> tensor<1x17x64xf32>
  // CHECK-NEXT: %w = onnx.If(%holds) -> ["w"] since 25 with else_branch {
  // CHECK-NEXT:   onnx.Yield %x : tensor<1x17x64xf32>
  // CHECK-NEXT: }, then_branch {
  // CHECK-NEXT:   onnx.Yield %z : tensor<1x17x64xf32>
  // CHECK-NEXT: } : (tensor<i1>) -> tensor<1x17x64xf32>
  %w = onnx.If(%holds) -> ["w"] since 25 with else_branch {
    onnx.Yield %x : tensor<1x17x64xf32>
  }, then_branch {
    onnx.Yield %z : tensor<1x17x64xf32>
  } : (tensor<i1>) -> tensor<1x17x64xf32>
  // CHECK-NEXT: %old = onnx.Softmax_11(%w) {axis = 1 : i64} -> ["old"] since 11 : (tensor<1x17x64xf32>) -> tensor<1x17x64xf32>
  %old = onnx.Softmax_11(%w) {axis = 1 : i64} -> ["old"] since 11 : (tensor<1x17x64xf32>) -> tensor<1x17x64xf32>
  // CHECK-NEXT: %s = onnx.SequenceConstruct(%old) -> ["s"] since 11 : (tensor<1x17x64xf32>) -> !onnx.sequence<tensor<1x17x64xf32>>
  %s = onnx.SequenceConstruct(%old) -> ["s"] since 11 : (tensor<1x17x64xf32>) -> !onnx.sequence<tensor<1x17x64xf32>>
  // CHECK-NEXT: %clean = onnx.StringNormalizer(%t) {stopwords = ["a", "b"]} -> ["clean"] since 10 : (tensor<3x!onnx.string>) -> tensor<?x!onnx.string>
  %clean = onnx.StringNormalizer(%t) {stopwords = ["a", "b"]} -> ["clean"] since 10 : (tensor<3x!onnx.string>) -> tensor<?x!onnx.string>
  func.return %old : tensor<1x17x64xf32>
}
