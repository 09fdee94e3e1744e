// RUN: attnc-opt %s -p repeat-dequantization | filecheck %s

// CHECK: func.func @main
func.func @main(%x: tensor<4x8xi8>, %scale: tensor<4x1xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  // CHECK: [[FIRST:%.*]] = nn.cast %x
  // CHECK: [[WIDE:%.*]] = nn.map "mul"([[FIRST]], %scale)
  %f = nn.cast %x : tensor<4x8xi8> to tensor<4x8xf32>
  %w = nn.map "mul"(%f, %scale) : (tensor<4x8xf32>, tensor<4x1xf32>) -> tensor<4x8xf32>
  // CHECK: nn.rms_norm [[WIDE]]
  %n = nn.rms_norm %w axis 1 epsilon 1.0e-05 : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: [[SECOND:%.*]] = nn.cast %x
  // CHECK: [[AGAIN:%.*]] = nn.map "mul"([[SECOND]], %scale)
  // CHECK: nn.map "neg"([[AGAIN]])
  %m = nn.map "neg"(%w) : (tensor<4x8xf32>) -> tensor<4x8xf32>
  func.return %n, %m : tensor<4x8xf32>, tensor<4x8xf32>
}
