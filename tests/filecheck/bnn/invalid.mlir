// RUN: attnc-opt %s --allow-unregistered-dialect --verify-diagnostics --split-input-file | filecheck %s

// CHECK: no mode of the matrix engine takes !bnn.uint<2> on the right
%a, %b = "test.op"() : () -> (tensor<4x8x!bnn.bipolar>, tensor<3x8x!bnn.uint<2>>)
%0 = bnn.matmul %a, %b : (tensor<4x8x!bnn.bipolar>, tensor<3x8x!bnn.uint<2>>) -> tensor<4x3xi32>

// -----

// CHECK: contracted extents differ: 8 in 4x8, 9 in 3x9
%a, %b = "test.op"() : () -> (tensor<4x8x!bnn.bipolar>, tensor<3x9x!bnn.bipolar>)
%0 = bnn.matmul %a, %b : (tensor<4x8x!bnn.bipolar>, tensor<3x9x!bnn.bipolar>) -> tensor<4x3xi32>

// -----

// CHECK: elements are f32, expected
%a, %b = "test.op"() : () -> (tensor<4x8xf32>, tensor<3x8x!bnn.bipolar>)
%0 = bnn.matmul %a, %b : (tensor<4x8xf32>, tensor<3x8x!bnn.bipolar>) -> tensor<4x3xi32>

// -----

// CHECK: element types differ: !bnn.unipolar and !bnn.bipolar
%a = "test.op"() : () -> tensor<4x8x!bnn.bipolar>
%0 = nn.reshape %a : tensor<4x8x!bnn.bipolar> to tensor<32x!bnn.unipolar>

// -----

// CHECK: a value of f32 is compared with one of i32
%a, %t = "test.op"() : () -> (tensor<4x8xf32>, tensor<8xi32>)
%0 = bnn.binarize %a ge %t : (tensor<4x8xf32>, tensor<8xi32>) -> tensor<4x8x!bnn.bipolar>

// -----

// CHECK: 4 does not stretch to 4x8
%a, %t = "test.op"() : () -> (tensor<4x8xf32>, tensor<4xf32>)
%0 = bnn.binarize %a ge %t : (tensor<4x8xf32>, tensor<4xf32>) -> tensor<4x8x!bnn.bipolar>

// -----

// CHECK: elements are !bnn.ternary, expected !bnn.bipolar or !bnn.unipolar
%a, %t = "test.op"() : () -> (tensor<4x8xf32>, tensor<8xf32>)
%0 = bnn.binarize %a ge %t : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8x!bnn.ternary>

// -----

// CHECK: packed integers have 2 or 4 bits, not 3
%a = "test.op"() : () -> tensor<4x8x!bnn.int<3>>

// -----

// CHECK: expected shape 4x1, got 1x8
%a = "test.op"() : () -> tensor<4x8x!bnn.unipolar>
%0 = bnn.sum %a : tensor<4x8x!bnn.unipolar> -> tensor<1x8xi32>
