// RUN: attnc-opt %s -p 'narrow-products{precision="model" layers="ffn.*=bf16"}' | filecheck %s

// CHECK: func.func @main
func.func @main(%x: tensor<4x2xf32>) -> tensor<4x2xf32> {
  %w = nn.constant dense<1.1> : tensor<2x2xf32>
  // CHECK: [[NARROW:%.*]] = nn.cast %x {path = "ffn.up"} : tensor<4x2xf32> to tensor<4x2xbf16>
  // CHECK: nn.matmul [[NARROW]], %{{.*}} {path = "ffn.up"} : (tensor<4x2xbf16>, tensor<2x2xbf16>) -> tensor<4x2xf32>
  %a = nn.matmul %x, %w {path = "ffn.up"} : (tensor<4x2xf32>, tensor<2x2xf32>) -> tensor<4x2xf32>
  // CHECK: nn.matmul %{{.*}}, %{{.*}} {path = "classifier"} : (tensor<4x2xf32>, tensor<2x2xf32>) -> tensor<4x2xf32>
  %b = nn.matmul %a, %w {path = "classifier"} : (tensor<4x2xf32>, tensor<2x2xf32>) -> tensor<4x2xf32>
  func.return %b : tensor<4x2xf32>
}
