// RUN: attnc-opt %s -p 'split-products,remove-unused,fold-constants,remove-unused' | filecheck %s

// A part of the columns of a product is a product of its own.

// CHECK: func.func @main
func.func @main(%x: tensor<1x9x4xf32>) -> (tensor<1x9x2xf32>, tensor<1x9x4xf32>) {
  // CHECK-NOT: nn.slice
  // CHECK: [[A:%.*]] = nn.matmul %x, {{%.*}} : (tensor<1x9x4xf32>, tensor<4x2xf32>) -> tensor<1x9x2xf32>
  // CHECK: [[B:%.*]] = nn.matmul %x, {{%.*}} : (tensor<1x9x4xf32>, tensor<4x4xf32>) -> tensor<1x9x4xf32>
  %w = nn.constant dense<1.0> : tensor<4x6xf32>
  %y = nn.matmul %x, %w : (tensor<1x9x4xf32>, tensor<4x6xf32>) -> tensor<1x9x6xf32>
  %a = nn.slice %y starts [0, 0, 0] steps [1, 1, 1] : tensor<1x9x6xf32> -> tensor<1x9x2xf32>
  %b = nn.slice %y starts [0, 0, 2] steps [1, 1, 1] : tensor<1x9x6xf32> -> tensor<1x9x4xf32>
  // CHECK: func.return [[A]], [[B]]
  func.return %a, %b : tensor<1x9x2xf32>, tensor<1x9x4xf32>
}
