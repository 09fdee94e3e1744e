// RUN: attnc-opt %s -p 'prune-weights{rules="encoder.*=1:2","*=2:4"}' | filecheck %s

// CHECK: func.func @main
func.func @main(%x: tensor<2x4xf32>) -> (tensor<2x2xf32>, tensor<2x4xf32>, tensor<2x4xf32>) {
  %w = nn.constant dense<[[1.0, -2.0], [3.0, 0.0], [0.5, 0.25], [4.0, 1.0]]> : tensor<4x2xf32>
  // CHECK: [[W:%.*]] = nn.constant #nn.ref<"prune({{.*}}structure=1:2
  // CHECK: nn.matmul %x, [[W]]
  %0 = nn.matmul %x, %w {path = "encoder.0.ffn.up"} : (tensor<2x4xf32>, tensor<4x2xf32>) -> tensor<2x2xf32>
  %v = nn.constant dense<1.0> : tensor<4x2xf32>
  // CHECK: [[V:%.*]] = nn.constant #nn.ref<"prune({{.*}}structure=2:4
  // CHECK: nn.matmul %{{.*}}, [[V]] transpose_rhs
  %1 = nn.matmul %0, %v transpose_rhs {path = "head"} : (tensor<2x2xf32>, tensor<4x2xf32>) -> tensor<2x4xf32>
  // What the program computes stays.
  // CHECK: nn.matmul %{{.*}}, %{{.*}} transpose_rhs :
  %2 = nn.matmul %x, %1 transpose_rhs : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x2xf32>
  func.return %0, %1, %1 : tensor<2x2xf32>, tensor<2x4xf32>, tensor<2x4xf32>
}
