// RUN: attnc-opt %s --machine edge -p detect-structure | filecheck %s

// CHECK: func.func @main
func.func @main(%x: tensor<2x4xi8>, %y: tensor<2x4xf32>) -> (tensor<2x2xi32>, tensor<2x2xf32>, tensor<2x2xf32>) {
  // One of each two along K, in both columns; through a transposition.
  %halves = nn.constant dense<[[1, 0, 0, 2], [0, 3, 0, -4]]> : tensor<2x4xi8>
  %turned = nn.transpose %halves permutation [1, 0] : tensor<2x4xi8> -> tensor<4x2xi8>
  // CHECK: nn.matmul %x, %{{.*}} structure "1:2"
  %0 = nn.matmul %x, %turned : (tensor<2x4xi8>, tensor<4x2xi8>) -> tensor<2x2xi32>
  // CHECK: nn.matmul %y, %{{.*}} transpose_rhs structure "2:4"
  %pair = nn.constant dense<[[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, -4.0]]> : tensor<2x4xf32>
  %1 = nn.matmul %y, %pair transpose_rhs : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x2xf32>
  // CHECK: nn.matmul %y, %{{.*}} :
  %whole = nn.constant dense<[[1.0, 2.0], [3.0, 0.0], [0.0, 0.0], [4.0, 0.0]]> : tensor<4x2xf32>
  %2 = nn.matmul %y, %whole : (tensor<2x4xf32>, tensor<4x2xf32>) -> tensor<2x2xf32>
  func.return %0, %1, %2 : tensor<2x2xi32>, tensor<2x2xf32>, tensor<2x2xf32>
}
