// RUN: attnc-opt %s --machine edge -p merge-butterflies,remove-unused | filecheck %s

// Two stages over four values, of strides 1 and 2, are one matrix of four.
// CHECK: func.func @main(%x: tensor<3x4xf32>) -> tensor<3x4xf32> {
// CHECK-NOT: nn.reduce
// CHECK: nn.constant #nn.ref<"butterfly({{.*}}strides=1,2)">
// CHECK: nn.matmul
func.func @main(%x: tensor<3x4xf32>) -> tensor<3x4xf32> {
  %first = nn.constant dense<[[[[1.0], [2.0]], [[3.0], [4.0]]], [[[5.0], [6.0]], [[7.0], [8.0]]]]> : tensor<2x2x2x1xf32>
  %second = nn.constant dense<[[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]]> : tensor<1x2x2x2xf32>
  %0 = nn.reshape %x : tensor<3x4xf32> to tensor<3x2x1x2x1xf32>
  %1 = nn.map "mul"(%first, %0) : (tensor<2x2x2x1xf32>, tensor<3x2x1x2x1xf32>) -> tensor<3x2x2x2x1xf32>
  %2 = nn.reduce sum %1 axes [3] : tensor<3x2x2x2x1xf32> -> tensor<3x2x2x1x1xf32>
  %3 = nn.reshape %2 : tensor<3x2x2x1x1xf32> to tensor<3x1x1x2x2xf32>
  %4 = nn.map "mul"(%second, %3) : (tensor<1x2x2x2xf32>, tensor<3x1x1x2x2xf32>) -> tensor<3x1x2x2x2xf32>
  %5 = nn.reduce sum %4 axes [3] : tensor<3x1x2x2x2xf32> -> tensor<3x1x2x1x2xf32>
  %6 = nn.reshape %5 : tensor<3x1x2x1x2xf32> to tensor<3x4xf32>
  func.return %6 : tensor<3x4xf32>
}
