// RUN: attnc-opt %s --allow-unregistered-dialect --verify-diagnostics --split-input-file | filecheck %s

// CHECK: 'nope' is not a function of the vector engine
%a = "test.op"() : () -> tensor<4xf32>
%0 = nn.map "nope"(%a) : (tensor<4xf32>) -> tensor<4xf32>

// -----

// CHECK: add has no form for (float, int)
%a, %b = "test.op"() : () -> (tensor<4xf32>, tensor<4xi32>)
%0 = nn.map "add"(%a, %b) : (tensor<4xf32>, tensor<4xi32>) -> tensor<4xf32>

// -----

// CHECK: shapes 4, 3 do not broadcast
%a, %b = "test.op"() : () -> (tensor<4xf32>, tensor<3xf32>)
%0 = nn.map "add"(%a, %b) : (tensor<4xf32>, tensor<3xf32>) -> tensor<4xf32>

// -----

// CHECK: lt gives bool, which is not stored as f32
%a = "test.op"() : () -> tensor<4xf32>
%0 = nn.map "lt"(%a, %a) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>

// -----

// CHECK: elements are i64
%a = "test.op"() : () -> tensor<4xi64>
%0 = nn.map "add"(%a, %a) : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi64>

// -----

// CHECK: is not static
%a = "test.op"() : () -> tensor<?xf32>
%0 = nn.map "neg"(%a) : (tensor<?xf32>) -> tensor<?xf32>

// -----

// CHECK: expected shape 1x1, got 1
%a = "test.op"() : () -> tensor<1x4xf32>
%0 = nn.reduce sum %a axes [1] : tensor<1x4xf32> -> tensor<1xf32>

// -----

// CHECK: no mean of i1
%a = "test.op"() : () -> tensor<4xi1>
%0 = nn.reduce mean %a axes [0] : tensor<4xi1> -> tensor<1xf32>

// -----

// CHECK: contracted extents differ: 4 in 2x4, 3 in 3x5
%a, %b = "test.op"() : () -> (tensor<2x4xf32>, tensor<3x5xf32>)
%0 = nn.matmul %a, %b : (tensor<2x4xf32>, tensor<3x5xf32>) -> tensor<2x5xf32>

// -----

// CHECK: 5:4 is no structure
%a, %b = "test.op"() : () -> (tensor<2x4xf32>, tensor<4x5xf32>)
%0 = nn.matmul %a, %b structure "5:4" : (tensor<2x4xf32>, tensor<4x5xf32>) -> tensor<2x5xf32>

// -----

// CHECK: no product of ui8 by i8
%a, %b = "test.op"() : () -> (tensor<2x4xui8>, tensor<4x5xi8>)
%0 = nn.matmul %a, %b : (tensor<2x4xui8>, tensor<4x5xi8>) -> tensor<2x5xi32>

// -----

// CHECK: [0, 0] is no permutation of the 2 axes
%a = "test.op"() : () -> tensor<2x4xf32>
%0 = nn.transpose %a permutation [0, 0] : tensor<2x4xf32> -> tensor<2x2xf32>

// -----

// CHECK: 2x4 and 9 differ in their number of elements
%a = "test.op"() : () -> tensor<2x4xf32>
%0 = nn.reshape %a : tensor<2x4xf32> to tensor<9xf32>

// -----

// CHECK: axis 1: elements 2 to 5 lie outside an extent of 4
%a = "test.op"() : () -> tensor<2x4xf32>
%0 = nn.slice %a starts [0, 2] steps [1, 1] : tensor<2x4xf32> -> tensor<2x4xf32>

// -----

// CHECK: 2x3 cannot be joined to 2x4 along axis 0
%a, %b = "test.op"() : () -> (tensor<2x4xf32>, tensor<2x3xf32>)
%0 = nn.concat(%a, %b) axis 0 : (tensor<2x4xf32>, tensor<2x3xf32>) -> tensor<4x4xf32>

// -----

// CHECK: padding is negative
%a, %b = "test.op"() : () -> (tensor<4xf32>, tensor<f32>)
%0 = nn.pad %a with %b : tensor<f32> low [-1] high [0] : tensor<4xf32> -> tensor<3xf32>

// -----

// CHECK: kernel 5 does not fit in 4
%a = "test.op"() : () -> tensor<1x1x4xf32>
%0 = nn.windows %a kernel [5] strides [1] dilations [1] : tensor<1x1x4xf32> -> tensor<1x1x1x5xf32>

// -----

// CHECK: limit 11 exceeds the 10 rows of the table
%a, %b = "test.op"() : () -> (tensor<10x4xf32>, tensor<3xi32>)
%0 = nn.gather_rows %a[%b] limit 11 : (tensor<10x4xf32>, tensor<3xi32>) -> tensor<3x4xf32>

// -----

// CHECK: 5 does not stretch to 2x4
%a, %b = "test.op"() : () -> (tensor<2x4xf32>, tensor<5xf32>)
%0 = nn.layer_norm %a scale %b : tensor<5xf32> axis 1 epsilon 1.0e-5 : tensor<2x4xf32> -> tensor<2x4xf32>

// -----

// CHECK: softmax sees no mask
%a = "test.op"() : () -> tensor<2x4xf32>
%0 = nn.softmax %a axis 1 empty_row uniform : tensor<2x4xf32> -> tensor<2x4xf32>

// -----

// CHECK: expected shape 4, got 2
%a, %b = "test.op"() : () -> (tensor<2x4xf32>, tensor<2xf32>)
%0 = nn.quantize %a scale %b : tensor<2xf32> axis 1 : tensor<2x4xf32> -> tensor<2x4xi8>

// -----

// CHECK: element types differ: i8 and ui8
%a, %b, %c = "test.op"() : () -> (tensor<2x4xf32>, tensor<f32>, tensor<ui8>)
%0 = nn.quantize %a scale %b : tensor<f32> zero_point %c : tensor<ui8> : tensor<2x4xf32> -> tensor<2x4xi8>

// -----

// CHECK: constant of type tensor<f32> gives tensor<2xf32>
%0 = "nn.constant"() <{data = dense<1.0> : tensor<f32>}> : () -> tensor<2xf32>
