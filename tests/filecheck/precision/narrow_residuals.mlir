// RUN: attnc-opt %s --split-input-file -p narrow-residuals | filecheck %s

// CHECK: func.func @main
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  // CHECK: [[SUM:%.*]] = nn.map "add"(%x, %x)
  // CHECK: [[NARROW:%.*]] = nn.cast [[SUM]] : tensor<4x8xf32> to tensor<4x8xbf16>
  %a = nn.map "add"(%x, %x) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  // CHECK: [[NORM:%.*]] = nn.rms_norm [[NARROW]]
  %n = nn.rms_norm %a axis 1 epsilon 1.0e-05 : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: nn.map "add"([[NARROW]], [[NORM]]) : (tensor<4x8xbf16>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %b = nn.map "add"(%a, %n) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  func.return %b : tensor<4x8xf32>
}

// -----

// A sum that only the norm after it reads is of the stream too.

// CHECK: func.func @main
func.func @main(%x: tensor<4x8xf32>, %y: tensor<4x8xf32>) -> tensor<4x8xf32> {
  // CHECK: [[SUM:%.*]] = nn.map "add"(%x, %y)
  // CHECK: [[NARROW:%.*]] = nn.cast [[SUM]] : tensor<4x8xf32> to tensor<4x8xbf16>
  %sum = nn.map "add"(%x, %y) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  // CHECK: nn.layer_norm [[NARROW]]
  %n = nn.layer_norm %sum axis 1 epsilon 1.0e-05 : tensor<4x8xf32> -> tensor<4x8xf32>
  func.return %n : tensor<4x8xf32>
}
