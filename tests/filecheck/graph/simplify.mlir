// RUN: attnc-opt %s -p simplify-layout,fold-constants,simplify-algebra,simplify-casts,merge-duplicates,remove-unused --split-input-file | filecheck %s

// Layout changes that undo one another.
// CHECK:      func.func @main(%x: tensor<2x3x4xf32>)
// CHECK-NEXT: func.return %x
func.func @main(%x: tensor<2x3x4xf32>) -> tensor<2x3x4xf32> {
  %0 = nn.transpose %x permutation [1, 2, 0] : tensor<2x3x4xf32> -> tensor<3x4x2xf32>
  %1 = nn.transpose %0 permutation [2, 0, 1] : tensor<3x4x2xf32> -> tensor<2x3x4xf32>
  %2 = nn.reshape %1 : tensor<2x3x4xf32> to tensor<6x4xf32>
  %3 = nn.reshape %2 : tensor<6x4xf32> to tensor<2x3x4xf32>
  %4 = nn.slice %3 starts [0, 0, 0] steps [1, 1, 1] : tensor<2x3x4xf32> -> tensor<2x3x4xf32>
  %5 = nn.concat(%4) axis 0 : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  %6 = nn.broadcast %5 : tensor<2x3x4xf32> to tensor<2x3x4xf32>
  func.return %6 : tensor<2x3x4xf32>
}

// -----

// Transpositions meet across a reshape of other axes, and one of the last two is the product's own.
// CHECK:      nn.matmul %x, %x transpose_rhs : (tensor<6x4x5xf32>, tensor<6x4x5xf32>) -> tensor<6x4x4xf32>
// CHECK-NEXT: func.return
func.func @main(%x: tensor<6x4x5xf32>) -> tensor<6x4x4xf32> {
  %0 = nn.transpose %x permutation [0, 2, 1] : tensor<6x4x5xf32> -> tensor<6x5x4xf32>
  %1 = nn.reshape %0 : tensor<6x5x4xf32> to tensor<2x3x5x4xf32>
  %2 = nn.transpose %1 permutation [0, 1, 3, 2] : tensor<2x3x5x4xf32> -> tensor<2x3x4x5xf32>
  %3 = nn.reshape %2 : tensor<2x3x4x5xf32> to tensor<6x4x5xf32>
  %4 = nn.transpose %3 permutation [0, 2, 1] : tensor<6x4x5xf32> -> tensor<6x5x4xf32>
  %y = nn.matmul %x, %4 : (tensor<6x4x5xf32>, tensor<6x5x4xf32>) -> tensor<6x4x4xf32>
  func.return %y : tensor<6x4x4xf32>
}

// -----

// Slices of slices, and stretched operands of maps.
// CHECK:      %{{.*}} = nn.slice %x starts [6, 1] steps [-2, 1] : tensor<8x4xf32> -> tensor<2x2xf32>
// CHECK-NEXT: %{{.*}} = nn.map "add"(%{{.*}}, %row) : (tensor<2x2xf32>, tensor<2xf32>) -> tensor<2x2xf32>
// CHECK-NEXT: func.return %{{.*}}
func.func @main(%x: tensor<8x4xf32>, %row: tensor<2xf32>) -> tensor<2x2xf32> {
  %0 = nn.slice %x starts [6, 0] steps [-2, 1] : tensor<8x4xf32> -> tensor<3x4xf32>
  %1 = nn.slice %0 starts [0, 1] steps [1, 1] : tensor<3x4xf32> -> tensor<2x2xf32>
  %2 = nn.broadcast %row : tensor<2xf32> to tensor<2x2xf32>
  %y = nn.map "add"(%1, %2) : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2x2xf32>
  func.return %y : tensor<2x2xf32>
}

// -----

// Exact arithmetic: neutral operands go, a division by a power of two is a product, a square is a product.
// CHECK:      %{{.*}} = nn.constant dense<1.250000e-01> : tensor<f32>
// CHECK-NEXT: %{{.*}} = nn.map "mul"(%x, %{{.*}})
// CHECK-NEXT: %{{.*}} = nn.map "mul"(%{{.*}}, %{{.*}})
// CHECK-NEXT: func.return %{{.*}}
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %one = nn.constant dense<1.0> : tensor<f32>
  %two = nn.constant dense<2.0> : tensor<f32>
  %eight = nn.constant dense<8.0> : tensor<f32>
  %zero = nn.constant dense<0.0> : tensor<f32>
  %0 = nn.map "mul"(%one, %x) : (tensor<f32>, tensor<4xf32>) -> tensor<4xf32>
  %1 = nn.map "sub"(%0, %zero) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %2 = nn.map "div"(%1, %eight) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %3 = nn.map "pow"(%2, %two) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %4 = nn.map "neg"(%3) : (tensor<4xf32>) -> tensor<4xf32>
  %5 = nn.map "neg"(%4) : (tensor<4xf32>) -> tensor<4xf32>
  func.return %5 : tensor<4xf32>
}

// -----

// x + 0 is not x where x is -0, and x / 3 is not x times a third.
// CHECK: nn.map "add"
// CHECK: nn.map "div"
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %zero = nn.constant dense<0.0> : tensor<f32>
  %three = nn.constant dense<3.0> : tensor<f32>
  %0 = nn.map "add"(%x, %zero) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %1 = nn.map "div"(%0, %three) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  func.return %1 : tensor<4xf32>
}

// -----

// Conversions go into what computes in float32 anyway, and the product takes the narrow operands.
// CHECK:      %{{.*}} = nn.matmul %x, %w : (tensor<2x4xf16>, tensor<4x4xf16>) -> tensor<2x4xf16>
// CHECK-NEXT: %{{.*}} = nn.softmax %{{.*}} axis 1 : tensor<2x4xf16> -> tensor<2x4xf16>
// CHECK-NEXT: func.return %{{.*}}
func.func @main(%x: tensor<2x4xf16>, %w: tensor<4x4xf16>) -> tensor<2x4xf16> {
  %0 = nn.cast %x : tensor<2x4xf16> to tensor<2x4xf32>
  %1 = nn.cast %w : tensor<4x4xf16> to tensor<4x4xf32>
  %2 = nn.matmul %0, %1 : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  %3 = nn.cast %2 : tensor<2x4xf32> to tensor<2x4xf16>
  %4 = nn.cast %3 : tensor<2x4xf16> to tensor<2x4xf32>
  %5 = nn.softmax %4 axis 1 : tensor<2x4xf32> -> tensor<2x4xf32>
  %6 = nn.cast %5 : tensor<2x4xf32> to tensor<2x4xf16>
  func.return %6 : tensor<2x4xf16>
}

// -----

// A conversion that loses values stays.
// CHECK: nn.cast %x : tensor<4xf32> to tensor<4xi32>
// CHECK: nn.cast %{{.*}} : tensor<4xi32> to tensor<4xf32>
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = nn.cast %x : tensor<4xf32> to tensor<4xi32>
  %1 = nn.cast %0 : tensor<4xi32> to tensor<4xf32>
  func.return %1 : tensor<4xf32>
}

// -----

// Constants fold; a position is counted once; equal operations merge.
// CHECK:      %{{.*}} = nn.constant dense<[0, 2, 4, 6]> : tensor<4xi32>
// CHECK-NEXT: %{{.*}} = nn.map "add"(%x, %{{.*}})
// CHECK-NEXT: %{{.*}} = nn.map "mul"(%{{.*}}, %{{.*}})
// CHECK-NEXT: func.return %{{.*}}
func.func @main(%x: tensor<4xi32>) -> tensor<4xi32> {
  %0 = nn.iota axis 0 : tensor<4xi32>
  %1 = nn.map "add"(%0, %0) : (tensor<4xi32>, tensor<4xi32>) -> tensor<4xi32>
  %2 = nn.map "add"(%x, %1) : (tensor<4xi32>, tensor<4xi32>) -> tensor<4xi32>
  %3 = nn.map "add"(%x, %1) : (tensor<4xi32>, tensor<4xi32>) -> tensor<4xi32>
  %4 = nn.map "mul"(%2, %3) : (tensor<4xi32>, tensor<4xi32>) -> tensor<4xi32>
  func.return %4 : tensor<4xi32>
}
