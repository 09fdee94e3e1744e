// RUN: attnc-opt %s -p recognize-softmax,remove-unused --split-input-file --print-debuginfo | filecheck %s

// The guard of exporters: NaN rows become zeros.
// CHECK:      %{{.*}} = nn.softmax %x axis 1 empty_row zero {value = "y"} : tensor<2x4xf32> -> tensor<2x4xf32> loc(fused["softmax", "isnan", "where"])
// CHECK-NEXT: func.return %{{.*}}
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %zero = nn.constant dense<0.0> : tensor<f32>
  %p = nn.softmax %x axis 1 : tensor<2x4xf32> -> tensor<2x4xf32> loc("softmax")
  %nan = nn.map "is_nan"(%p) : (tensor<2x4xf32>) -> tensor<2x4xi1> loc("isnan")
  %y = nn.map "select"(%nan, %zero, %p) {value = "y"} : (tensor<2x4xi1>, tensor<f32>, tensor<2x4xf32>) -> tensor<2x4xf32> loc("where")
  func.return %y : tensor<2x4xf32>
}

// -----

// Any other number in the place of NaN is no guard.
// CHECK: nn.softmax %x axis 1 : tensor<2x4xf32>
// CHECK: nn.map "select"
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %one = nn.constant dense<1.0> : tensor<f32>
  %p = nn.softmax %x axis 1 : tensor<2x4xf32> -> tensor<2x4xf32>
  %nan = nn.map "is_nan"(%p) : (tensor<2x4xf32>) -> tensor<2x4xi1>
  %y = nn.map "select"(%nan, %one, %p) : (tensor<2x4xi1>, tensor<f32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  func.return %y : tensor<2x4xf32>
}

// -----

// Softmax spelled out.
// CHECK:      nn.softmax %x axis 1 : tensor<2x4xf32> -> tensor<2x4xf32>
// CHECK-NEXT: func.return
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %max = nn.reduce max %x axes [1] : tensor<2x4xf32> -> tensor<2x1xf32>
  %shifted = nn.map "sub"(%x, %max) : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  %weights = nn.map "exp"(%shifted) : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %sum = nn.reduce sum %weights axes [1] : tensor<2x4xf32> -> tensor<2x1xf32>
  %y = nn.map "div"(%weights, %sum) : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  func.return %y : tensor<2x4xf32>
}
