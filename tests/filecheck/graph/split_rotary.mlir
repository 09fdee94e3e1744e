// RUN: attnc-opt %s -p split-rotary,remove-unused | filecheck %s

// CHECK:      %[[LOW:.*]] = nn.slice %x starts [0, 0] steps [1, 1] : tensor<3x4xf32> -> tensor<3x2xf32>
// CHECK-NEXT: %[[HIGH:.*]] = nn.slice %x starts [0, 2] steps [1, 1]
// CHECK-NOT:  "neg"
// CHECK:      %[[FIRST:.*]] = nn.map "sub"
// CHECK:      %[[SECOND:.*]] = nn.map "add"
// CHECK-NEXT: nn.concat(%[[FIRST]], %[[SECOND]]) axis 1 {value = "rotated"} : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x4xf32>
func.func @main(%x: tensor<3x4xf32>, %cos: tensor<3x4xf32>, %sin: tensor<3x4xf32>) -> tensor<3x4xf32> {
  %0 = nn.map "mul"(%x, %cos) : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  %1 = nn.slice %x starts [0, 0] steps [1, 1] : tensor<3x4xf32> -> tensor<3x2xf32>
  %2 = nn.slice %x starts [0, 2] steps [1, 1] : tensor<3x4xf32> -> tensor<3x2xf32>
  %3 = nn.map "neg"(%2) : (tensor<3x2xf32>) -> tensor<3x2xf32>
  %4 = nn.concat(%3, %1) axis 1 : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x4xf32>
  %5 = nn.map "mul"(%4, %sin) : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  %6 = nn.map "add"(%0, %5) {value = "rotated"} : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  func.return %6 : tensor<3x4xf32>
}
