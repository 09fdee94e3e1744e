// RUN: attnc-opt %s -p 'quantize-residuals,quantize-products,merge-duplicates' | filecheck %s

// Nothing is calibrated: the norm's result has a scale a token, shared by the product and the sum; the sum that the
// next norm reads is bf16.

// CHECK: func.func @main
func.func @main(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>) -> tensor<4x8xf32> {
  // CHECK: [[NORM:%.*]] = nn.rms_norm %x
  // CHECK: [[FACTOR:%.*]] = nn.map "mul"{{.*}} -> tensor<4x1xf32>
  // CHECK: [[LEVELS:%.*]] = nn.cast {{%.*}} : tensor<4x8xf32> to tensor<4x8xi8>
  // CHECK: [[FLOATS:%.*]] = nn.cast [[LEVELS]] : tensor<4x8xi8> to tensor<4x8xf32>
  // CHECK: [[WIDE:%.*]] = nn.map "mul"([[FLOATS]], [[FACTOR]])
  %n = nn.rms_norm %x axis 1 epsilon 1.0e-05 : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: nn.matmul [[LEVELS]]
  %y = nn.matmul %n, %w : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  // CHECK: [[SUM:%.*]] = nn.map "add"([[WIDE]]
  // CHECK: [[NARROW:%.*]] = nn.cast [[SUM]] : tensor<4x8xf32> to tensor<4x8xbf16>
  %s = nn.map "add"(%n, %y) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  // CHECK: nn.rms_norm [[NARROW]]
  %m = nn.rms_norm %s axis 1 epsilon 1.0e-05 : tensor<4x8xf32> -> tensor<4x8xf32>
  func.return %m : tensor<4x8xf32>
}
